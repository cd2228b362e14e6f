"""Messages of a relay: what is read of them, what is changed in them, and the notifications about them."""

import base64
import email.message
import email.mime.base
import email.mime.multipart
import email.mime.text
import email.policy
import hashlib
import math
import quopri
import random
import re
import time


class Message:
    """A message on its way: its content without the stuffed dots, and what it will count as for each of its recipients."""

    __slots__ = ("sender", "recipients", "content", "key", "accepted", "timed", "counts", "if_lost", "if_bounced")

    def __init__(self, sender, recipients, content):
        self.sender, self.recipients, self.content = sender, recipients, content
        self.key, self.accepted, self.timed = identity(content), 0, False
        self.counts, self.if_lost, self.if_bounced = (), (), ()

    def copy(self, content):
        return Message(self.sender, self.recipients, content)


def identity(content):
    """The message's number, or its Message-ID, or nothing."""
    header = content[: content.find(b"\r\n\r\n") + 2]
    for name in (rb"X-Smtpress-Seq: *(\d+)", rb"Message-ID: *<[^>]*\.(\d+)@smtpress\.invalid>"):
        found = re.search(rb"(?im)^" + name, header)
        if found:
            return int(found[1])
    return None


def draw(seed, what, key):
    """A number from 0 to 1 that follows from the three."""
    digest = hashlib.blake2b(f"{seed}:{what}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def drawn_time(distribution, seed, key):
    """Seconds, from `fixed:0.1`, `uniform:LOW:HIGH`, `exponential:MEAN` or `lognormal:MEDIAN:SIGMA`."""
    if not distribution:
        return 0.0
    kind, *numbers = distribution.split(":")
    numbers = [float(number) for number in numbers]
    source = random.Random(f"{seed}:hold:{key}")
    if kind == "fixed":
        return numbers[0]
    if kind == "uniform":
        return source.uniform(*numbers)
    if kind == "exponential":
        return source.expovariate(1 / numbers[0])
    if kind == "lognormal":
        return source.lognormvariate(math.log(numbers[0]), numbers[1])
    raise ValueError(f"no distribution {kind}")


def halves(content):
    """The header with the empty line, and the body."""
    place = content.find(b"\r\n\r\n") + 4
    return (content[:place], content[place:]) if place >= 4 else (content, b"")


def encoded(content, encoding):
    """The message with its body in another content transfer encoding. Of a multipart nothing is changed."""
    head, body = halves(content)
    field = re.compile(rb"(?im)^Content-Transfer-Encoding: *(\S+)\r\n")
    found = field.search(head)
    if re.search(rb"(?im)^Content-Type: *multipart/", head) or not re.search(rb"(?im)^MIME-Version:", head):
        return content
    old = found[1].lower() if found else b"7bit"
    if old == b"quoted-printable":
        body = quopri.decodestring(body)
    elif old == b"base64":
        body = base64.b64decode(body)
    if encoding == "base64":
        body = base64.encodebytes(body).replace(b"\n", b"\r\n")
    else:
        body = quopri.encodestring(body.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    line = b"Content-Transfer-Encoding: " + encoding.encode() + b"\r\n"
    return (field.sub(line, head) if found else head[:-2] + line + b"\r\n") + body


def notification(options, message, recipients, action, status, reply):
    """A delivery status notification (RFC 3464), as bytes."""
    report = email.mime.multipart.MIMEMultipart("report", report_type="delivery-status")
    report["From"] = f"Mail Delivery System <MAILER-DAEMON@{options.name}>"
    report["To"] = f"<{message.sender.decode('ascii', 'replace')}>"
    report["Subject"] = "Delivery status"
    report["Message-ID"] = f"<{time.monotonic_ns()}@{options.name}>"
    report["Auto-Submitted"] = "auto-replied"
    report.attach(email.mime.text.MIMEText(f"{action}: {reply}\n", "plain", "us-ascii"))
    of_message = email.message.Message()
    of_message["Reporting-MTA"] = f"dns; {options.name}"
    groups = [of_message]
    for recipient in recipients:
        group = email.message.Message()
        group["Final-Recipient"] = f"rfc822; {recipient.decode('ascii', 'replace')}"
        group["Action"] = action
        group["Status"] = status
        group["Diagnostic-Code"] = f"smtp; {reply}"
        groups.append(group)
    details = email.mime.base.MIMEBase("message", "delivery-status")
    details.set_payload(groups)
    report.attach(details)
    returned = email.mime.base.MIMEBase("text", "rfc822-headers")
    returned.set_payload(halves(message.content)[0].decode("ascii", "surrogateescape"))
    if options.returns == "full":
        returned = email.mime.base.MIMEBase("message", "rfc822")
        returned.attach(email.message_from_bytes(message.content))
    report.attach(returned)
    return report.as_bytes(policy=email.policy.compat32.clone(linesep="\r\n"))
