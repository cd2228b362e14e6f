"""The sessions of a relay: those of its clients, and its own to the next hop."""

import asyncio
import re
import time

from messages import Message, encoded, halves

# The replies to the content of messages with these faults; None closes the session.
ANSWERS = {
    "refuse": b"550 5.7.1 refused, and delivered\r\n",
    "refuse-temporarily": b"451 4.3.0 refused, and delivered\r\n",
    "vanish-kept": None,
    "vanish-lost": None,
}


class Client(asyncio.Protocol):
    """A session of a client: replies stand in the order of the commands, as RFC 2920 asks."""

    def __init__(self, relay):
        self.relay = relay
        self.buffer = b""
        self.scanned = 0
        self.is_content = False
        self.sender = None
        self.recipients = []
        self.is_closed = False

    def connection_made(self, transport):
        self.transport = transport
        if self.relay.is_ending:
            transport.abort()
            return
        self.relay.clients.add(self)
        transport.write(f"220 {self.relay.options.name} ESMTP\r\n".encode())

    def connection_lost(self, error):
        self.is_closed = True
        self.relay.clients.discard(self)

    def data_received(self, data):
        self.buffer += data
        while not self.is_closed and (self.content() if self.is_content else self.command()):
            pass

    def command(self):
        line, end, rest = self.buffer.partition(b"\r\n")
        if not end:
            return False
        self.buffer = rest
        verb = line[:4].upper()
        reply = getattr(self, "on_" + verb.decode("ascii", "replace").lower().strip(), None)
        self.transport.write(reply(line) if reply else b"500 5.5.1 unknown command\r\n")
        if verb == b"QUIT":
            self.close()
        return True

    def close(self):
        self.is_closed = True
        self.transport.close()

    def on_ehlo(self, line):
        extensions = ["PIPELINING", "8BITMIME", "SIZE 104857600", "ENHANCEDSTATUSCODES"]
        lines = [self.relay.options.name, *extensions]
        return "".join(f"250{'-' if line is not lines[-1] else ' '}{line}\r\n" for line in lines).encode()

    def on_helo(self, line):
        return b"250 " + self.relay.options.name.encode() + b"\r\n"

    def on_mail(self, line):
        self.sender, self.recipients = address(line), []
        return b"250 2.1.0 Ok\r\n"

    def on_rcpt(self, line):
        if self.sender is None:
            return b"503 5.5.1 MAIL first\r\n"
        if self.relay.defers(address(line)):
            return b"450 4.2.1 mailbox busy, try again\r\n"
        self.recipients.append(address(line))
        return b"250 2.1.5 Ok\r\n"

    def on_data(self, line):
        if not self.recipients:
            return b"554 5.5.1 no valid recipients\r\n"
        self.is_content, self.scanned = True, 0
        return b"354 go on\r\n"

    def on_rset(self, line):
        self.sender, self.recipients = None, []
        return b"250 2.0.0 Ok\r\n"

    def on_noop(self, line):
        return b"250 2.0.0 Ok\r\n"

    def on_quit(self, line):
        return b"221 2.0.0 Bye\r\n"

    def content(self):
        if self.buffer.startswith(b".\r\n"):
            end, length = 0, 3
        else:
            end, length = self.buffer.find(b"\r\n.\r\n", self.scanned) + 2, 3
            if end < 2:
                self.scanned = max(0, len(self.buffer) - 4)
                return False
        content, self.buffer = self.buffer[:end], self.buffer[end + length :]
        self.is_content = False
        if content.startswith(b"."):
            content = content[1:]
        message = Message(self.sender, self.recipients, content.replace(b"\r\n..", b"\r\n."))
        self.sender, self.recipients = None, []
        fault = self.relay.fault_of(message)
        reply = ANSWERS.get(fault, b"250 2.0.0 Ok: queued\r\n")
        if reply:
            self.transport.write(reply)
        else:
            self.close()
        self.relay.accepted(message, fault)
        return True


def address(line):
    return line[line.find(b"<") + 1 : line.find(b">")]


class NextHop(asyncio.Protocol):
    """A session to the next hop, for one message after the other."""

    def __init__(self, relay):
        self.relay = relay
        self.transport = None
        self.buffer = b""
        self.reply = b""
        self.awaited = None
        self.is_idle = False
        self.extensions = b""
        self.message = None
        self.recipients = []

    async def open(self):
        host, port = self.relay.options.next.rsplit(":", 1)
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, host, int(port))
        except OSError:
            self.relay.ledger.counts["connections_failed"] += 1
            self.over()

    def connection_made(self, transport):
        self.transport = transport
        self.awaited = self.greeted

    def connection_lost(self, error):
        if self.message:
            # Whether the next hop has it is not known: it is sent again, as RFC 5321 4.5.4.1 asks.
            if self.awaited == self.ended:
                self.relay.ledger.counts["in_doubt"] += 1
            self.relay.ready.appendleft((self.message, self.recipients))
            self.message = None
        self.over()

    def over(self):
        """The session is no more; another one is tried a little later."""
        if self in self.relay.sessions:
            self.relay.sessions.discard(self)
            if not self.relay.is_ending:
                asyncio.get_running_loop().call_later(0.2, self.relay.work)

    def data_received(self, data):
        *lines, self.buffer = (self.buffer + data).split(b"\r\n")
        for line in lines:
            self.reply += line + b"\r\n"
            if line[3:4] != b"-":
                reply, self.reply = self.reply, b""
                if reply.startswith(b"421") or self.awaited is None:
                    self.transport.abort()
                    return
                self.awaited(reply)

    def greeted(self, reply):
        if not reply.startswith(b"220"):
            self.transport.abort()
            return
        hello = "LHLO" if self.relay.options.lmtp else "EHLO"
        self.transport.write(f"{hello} {self.relay.options.name}\r\n".encode())
        self.awaited = self.said_hello

    def said_hello(self, reply):
        self.extensions = reply.upper()
        self.awaited = None
        self.is_idle = True
        self.begin()

    def begin(self):
        """Takes the next message, if there is one and this session has nothing to do."""
        if not self.is_idle or not self.relay.ready or self.relay.is_ending:
            return
        self.is_idle = False
        self.message, self.recipients = self.relay.ready.popleft()
        parameters = b" BODY=8BITMIME" if b"8BITMIME" in self.extensions and not self.message.content.isascii() else b""
        self.commands = [b"MAIL FROM:<" + self.message.sender + b">" + parameters + b"\r\n"]
        self.commands += [b"RCPT TO:<" + recipient + b">\r\n" for recipient in self.recipients]
        self.commands.append(b"DATA\r\n")
        self.replies = []
        self.awaited = self.answered
        self.transport.write(b"".join(self.commands) if self.pipelines() else self.commands[0])

    def pipelines(self):
        return b"PIPELINING" in self.extensions

    def answered(self, reply):
        self.replies.append(reply)
        if len(self.replies) < len(self.commands):
            if not self.pipelines():
                self.transport.write(self.commands[len(self.replies)])
            return
        mail, *recipients, data = self.replies
        if not mail.startswith(b"2"):
            recipients = [mail] * len(recipients)
        self.fates = recipients
        self.taken = [place for place, fate in enumerate(recipients) if fate.startswith(b"2")]
        if data.startswith(b"354"):
            self.awaited = self.ended
            self.answers = []
            if self.taken:
                content = self.rendered()
                stuffed = content.replace(b"\r\n.", b"\r\n..")
                self.transport.write((b"." if stuffed.startswith(b".") else b"") + stuffed + b".\r\n")
                if self.message.accepted and not self.message.timed:
                    self.relay.ledger.transit.append(time.monotonic_ns() - self.message.accepted)
                    self.message.timed = True
            else:
                self.transport.write(b".\r\n")
            return
        for place in self.taken:
            self.fates[place] = data
        # The transaction is still open at the next hop (RFC 5321 4.1.4).
        self.awaited = self.reset
        self.transport.write(b"RSET\r\n")

    def reset(self, reply):
        self.finish()

    def rendered(self):
        """The content as it goes out."""
        content, relay = self.message.content, self.relay
        for fault, _ in relay.faults:
            if fault == "strip-x":
                head, body = halves(content)
                content = re.sub(rb"(?im)^X-[^\r]*\r\n([ \t][^\r]*\r\n)*", b"", head) + body
            elif fault == "strip-id" and self.message.accepted:
                new = b"Message-ID: <%d" % time.monotonic_ns()
                content = re.sub(rb"(?im)^Message-ID: <[^@]*", new, content, count=1)
            elif fault in ("base64", "quoted-printable"):
                content = encoded(content, fault)
        name = relay.options.name.encode()
        stamp = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime()).encode()
        trace = b"Received: from client by " + name + b";\r\n\t" + stamp + b"\r\n"
        if relay.has("decorate"):
            trace = (
                b"Return-Path: <" + self.message.sender + b">\r\nDelivered-To: <" + self.recipients[0] + b">\r\n"
                b"Authentication-Results: " + name + b"; spf=none\r\nARC-Seal: i=1; a=rsa-sha256; d=relay.test\r\n"
                b"DKIM-Signature: v=1; a=rsa-sha256; d=relay.test;\r\n\tbh=AAAA; b=AAAA\r\nX-Spam-Status: No, score=0\r\n"
            ) + trace
        return trace + content

    def ended(self, reply):
        self.answers.append(reply)
        expected = max(1, len(self.taken)) if self.relay.options.lmtp else 1
        if len(self.answers) < expected:
            return
        for number, place in enumerate(self.taken):
            self.fates[place] = self.answers[number if self.relay.options.lmtp else 0]
        self.finish()

    def finish(self):
        message, recipients, self.message = self.message, self.recipients, None
        self.awaited = None
        self.is_idle = True
        self.relay.settle(message, recipients, self.fates)
        self.begin()
