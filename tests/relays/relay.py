"""A mail relay with faults, which keeps an exact account of what it did.

It takes messages by SMTP and hands them on by SMTP or LMTP. Whether a message has a fault follows from the seed and the message's
number alone. Nothing is stored: what waits when the relay ends is lost, and the ledger says so.

Signals: USR1 loses all messages that wait; USR2 writes the ledger; TERM and INT lose what waits, write the ledger and end.
The ledger is one line of JSON, added to a file. `expect` holds the counts that a receiver behind the relay has to come to, a
recipient each; in the lists of numbers a message stands once for each of its recipients.
Standard library only, Python 3.9 or newer.
"""

import argparse
import asyncio
import collections
import json
import math
import os
import random
import re
import signal
import sys
import time

sys.dont_write_bytecode = True

from messages import Message, draw, drawn_time, halves, notification  # noqa: E402
from sessions import Client, NextHop  # noqa: E402

FAULTS = {
    "drop": "answers 250 and loses the message",
    "duplicate": "delivers it twice",
    "swap": "exchanges the bodies of two",
    "truncate": "cuts what is larger than SIZE bytes (truncate=65536)",
    "refuse-temporarily": "answers 451 to the content and delivers it all the same",
    "refuse": "answers 550 to the content and delivers it all the same",
    "rewrite": "changes one letter of the body",
    "subject": "changes the subject",
    "footer": "adds a line to the body",
    "foreign": "delivers it, and a copy that is of another run",
    "bounce": "sends a notification (RFC 3464) in its place",
    "delay": "sends a notification that it is late, and delivers it",
    "both": "sends a notification that it failed, and delivers it",
    "vanish-kept": "closes the session behind the content, and delivers it",
    "vanish-lost": "closes the session behind the content, and loses it",
    "never": "takes it and keeps it for ever",
}
HARMLESS = {
    "strip-x": "removes all X- fields",
    "strip-id": "gives it another Message-ID",
    "quoted-printable": "encodes the body as quoted-printable",
    "base64": "encodes the body as base64",
    "decorate": "adds the fields that relays add",
    "split": "delivers each recipient in a transaction of its own",
}
COUNTS = (
    "delivered missing bounced duplicated altered unexpected foreign bounced_and_delivered "
    "in_doubt_delivered in_doubt_bounced in_doubt_missing"
).split()
REASONS = [("5.1.1", "550", "no such user"), ("5.2.2", "552", "mailbox full"), ("5.7.1", "554", "refused by policy")]


class Ledger:
    """What was done, by message."""

    def __init__(self):
        self.started = time.time_ns()
        self.faults = collections.defaultdict(list)
        self.expect = collections.Counter(dict.fromkeys(COUNTS, 0))
        self.counts = collections.Counter()
        self.bounced = collections.defaultdict(list)
        self.lost = []
        self.transit = []
        self.samples = []

    def line(self, waiting, is_final):
        times = sorted(self.transit)
        
        def rank(share):
            return times[max(0, math.ceil(share * len(times)) - 1)] if times else None

        return json.dumps(
            {
                "pid": os.getpid(),
                "final": is_final,
                "started_unix_ns": self.started,
                "ended_unix_ns": time.time_ns(),
                "counts": dict(self.counts),
                "expect": dict(self.expect),
                "faults": {fault: sorted(keys) for fault, keys in self.faults.items()},
                "bounced": {status: sorted(keys) for status, keys in self.bounced.items()},
                "lost": sorted(self.lost),
                "waiting": sorted(waiting),
                "transit_ns": {"count": len(times), **{f"p{n}": rank(n / 100) for n in (50, 90, 99, 100)}},
                "samples": self.samples,
            }
        )


class Relay:
    """The queue between the sessions of clients and those to the next hop."""

    def __init__(self, options):
        self.options = options
        self.ledger = Ledger()
        self.random = random.Random(options.seed)
        self.faults = [fault.partition("=")[::2] for fault in options.fault]
        self.ready = collections.deque()
        self.timers = {}
        self.kept = []
        self.swapping = None
        self.first = {}
        self.deferred = set()
        self.departure = 0.0
        self.sessions = set()
        self.clients = set()
        self.is_ending = False

    # What becomes of a message.

    def fault_of(self, message):
        """The first fault that is drawn for it."""
        if message.key in self.first:
            return None
        for fault, amount in self.faults:
            if fault == "truncate":
                if len(message.content) > int(amount or 65536):
                    return fault
            elif fault in FAULTS and draw(self.options.seed, fault, message.key) * float(amount or 1) < 1:
                return fault
        return None

    def accepted(self, message, fault):
        """The reply to the content is on its way."""
        message.accepted = time.monotonic_ns()
        self.ledger.counts["messages"] += 1
        self.ledger.counts["recipients"] += len(message.recipients)
        if fault and fault != "swap":
            self.ledger.faults[fault] += [message.key] * len(message.recipients)
        message.if_lost, message.if_bounced = ("missing",), ("bounced",)
        self.count(message, "delivered")
        if message.key in self.first:
            self.again(self.first.pop(message.key), message)
        if self.options.once and fault in ("refuse-temporarily", "vanish-kept", "vanish-lost"):
            self.first[message.key] = message
        getattr(self, "on_" + (fault or "none").replace("-", "_"))(message)

    def count(self, message, *counts, recipients=None):
        """From now on each of these recipients of the message counts as this."""
        number = len(message.recipients) if recipients is None else recipients
        for count in message.counts:
            self.ledger.expect[count] -= number
        for count in counts:
            self.ledger.expect[count] += number
        if recipients is None:
            message.counts = counts

    def again(self, first, message):
        """The client sends again what it holds for not accepted: what came out of the first is a delivery now."""
        if "in_doubt_missing" in first.counts:
            self.count(first)
        else:
            self.count(first, "delivered")
            self.count(message, "duplicated")

    def defers(self, recipient):
        """Whether it refuses this recipient for now: only the first time."""
        number = self.options.defer
        if not number or recipient in self.deferred or draw(self.options.seed, "defer", recipient) * number >= 1:
            return False
        self.deferred.add(recipient)
        self.ledger.counts["deferred"] += 1
        return True

    def on_none(self, message):
        self.hold(message)

    def on_drop(self, message):
        self.count(message, "missing")

    def on_never(self, message):
        self.count(message, "missing")
        self.kept.append(message)

    def on_vanish_lost(self, message):
        self.count(message, "in_doubt_missing")

    def on_vanish_kept(self, message):
        message.if_lost, message.if_bounced = ("in_doubt_missing",), ("in_doubt_bounced",)
        self.count(message, "in_doubt_delivered")
        self.hold(message)

    def on_refuse(self, message):
        message.if_lost, message.if_bounced = (), ()
        self.count(message, "unexpected")
        self.hold(message)

    on_refuse_temporarily = on_refuse

    def on_duplicate(self, message):
        second = message.copy(message.content)
        self.count(second, "duplicated")
        self.hold(message)
        self.hold(second)

    def on_foreign(self, message):
        renamed = re.sub(rb"(?im)^(X-Smtpress-Run: |Message-ID: <)", rb"\g<1>other-", message.content)
        stranger = message.copy(renamed)
        self.count(stranger, "foreign")
        self.hold(message)
        self.hold(stranger)

    def on_swap(self, message):
        first, self.swapping = self.swapping, None
        if first is None:
            self.swapping = message
            # Without a second one it goes out as it came.
            self.after(1.0, lambda: self.swapping is message and self.swap_alone())
            return
        (head, body), (other_head, other_body) = halves(first.content), halves(message.content)
        first.content, message.content = head + other_body, other_head + body
        for one in (first, message):
            if body != other_body:
                self.ledger.faults["swap"] += [one.key] * len(one.recipients)
                self.count(one, "delivered", "altered")
            self.hold(one)

    def swap_alone(self):
        message, self.swapping = self.swapping, None
        self.hold(message)

    def alter(self, message, content):
        message.content = content
        self.count(message, "delivered", "altered")
        self.hold(message)

    def on_truncate(self, message):
        size = next(int(amount or 65536) for fault, amount in self.faults if fault == "truncate")
        self.alter(message, message.content[: size - 2].rstrip(b"\r\n") + b"\r\n")

    def on_rewrite(self, message):
        head, body = halves(message.content)
        letters = [found.start() for found in re.finditer(rb"[A-Za-z0-9]", body)]
        place = letters[int(draw(self.options.seed, "letter", message.key) * len(letters))]
        letter = b"b" if body[place : place + 1] in b"aA" else b"a"
        self.alter(message, head + body[:place] + letter + body[place + 1 :])

    def on_subject(self, message):
        self.alter(message, re.sub(rb"(?im)^Subject: ", b"Subject: [list] ", message.content, count=1))

    def on_footer(self, message):
        self.alter(message, message.content + b"-- \r\nThis message was relayed.\r\n")

    def on_bounce(self, message):
        self.count(message)
        self.notify(message, message.recipients, "failed", self.reason(message), message.if_bounced)

    def on_both(self, message):
        self.notify(message, message.recipients, "failed", self.reason(message), ("bounced_and_delivered",))
        self.hold(message)

    def on_delay(self, message):
        reason = ("4.4.1", "451", "the next hop does not answer")
        self.notify(message, message.recipients, "delayed", reason, ())
        self.hold(message)

    def reason(self, message):
        return REASONS[int(draw(self.options.seed, "reason", message.key) * len(REASONS))]

    def notify(self, message, recipients, action, reason, counts):
        """Sends a notification about these recipients to the message's sender, by way of the same next hop."""
        status, code, words = reason
        if action == "failed":
            self.ledger.bounced[status] += [message.key] * len(recipients)
        content = notification(self.options, message, recipients, action, status, f"{code} {status} {words}")
        report = Message(b"", [message.sender], content)
        report.if_lost = message.if_lost * len(recipients) if "bounced" in counts else ()
        self.ledger.counts["notifications"] += 1
        if message.sender:
            self.count(report, *counts * len(recipients))
            self.hold(report)
        else:
            self.count(report, *report.if_lost)

    # When a message goes out.

    def hold(self, message):
        """Lets it wait: for the time that is drawn, then for its turn at the rate."""
        now = time.monotonic()
        wait = drawn_time(self.options.hold, self.options.seed, message.key) if message.accepted else 0.0
        if self.options.rate:
            service = 1 / self.options.rate
            if self.options.service == "exponential":
                service = self.random.expovariate(self.options.rate)
            self.departure = max(now + wait, self.departure) + service
            wait = self.departure - now
        entries = [(message, message.recipients)]
        if self.has("split"):
            entries = [(message, [recipient]) for recipient in message.recipients]
        if wait > 0:
            self.after(wait, lambda: self.release(entries), entries)
        else:
            self.release(entries)

    def after(self, seconds, call, entries=()):
        """Calls later. The entries wait till then."""
        token = object()

        def due():
            del self.timers[token]
            call()

        self.timers[token] = (asyncio.get_running_loop().call_later(seconds, due), entries)

    def release(self, entries):
        self.ready.extend(entries)
        self.work()

    def has(self, fault):
        return any(name == fault for name, _ in self.faults)

    def work(self):
        """Gives what is ready to the sessions that have nothing to do, and opens more of them."""
        for session in list(self.sessions):
            if not self.ready:
                return
            session.begin()
        for _ in range(min(len(self.ready), self.options.sessions - len(self.sessions))):
            session = NextHop(self)
            self.sessions.add(session)
            asyncio.ensure_future(session.open())

    def settle(self, message, recipients, replies):
        """The next hop has answered for these recipients."""
        again, refused = [], collections.defaultdict(list)
        for recipient, reply in zip(recipients, replies):
            if reply.startswith(b"2"):
                self.ledger.counts["deliveries"] += 1
            elif reply.startswith(b"5"):
                refused[reply].append(recipient)
            else:
                again.append(recipient)
        if again:
            self.ledger.counts["retries"] += len(again)
            entries = [(message, again)]
            self.after(self.options.retry, lambda: self.release(entries), entries)
        for reply, those in refused.items():
            if not message.accepted:
                self.count(message, *message.if_lost, recipients=len(those))
                continue
            self.count(message, recipients=len(those))
            code, _, words = reply.decode("ascii", "replace").strip().partition(" ")
            # Cisco writes `#5.1.0`.
            found = re.match(r"#?(\d\.\d+\.\d+) +(.*)", words)
            status, words = found.groups() if found else ("5.0.0", words)
            self.notify(message, those, "failed", (status, code, words), message.if_bounced)

    # How it ends.

    def waiting(self):
        """What is not out: messages with recipients."""
        waiting = [entry for _, entries in self.timers.values() for entry in entries] + list(self.ready)
        return waiting + ([(self.swapping, self.swapping.recipients)] if self.swapping else [])

    def lose(self):
        """Loses all messages that wait."""
        for message, recipients in self.waiting():
            if message.accepted:
                self.ledger.lost += [message.key] * len(recipients)
            self.count(message, *message.if_lost, recipients=len(recipients))
        for timer, _ in self.timers.values():
            timer.cancel()
        self.timers.clear()
        self.ready.clear()
        self.swapping = None

    def write(self, is_final=False):
        """Adds the ledger to its file."""
        waiting = [message.key for message, recipients in self.waiting() if message.accepted for _ in recipients]
        line = self.ledger.line(waiting, is_final)
        if self.options.ledger:
            with open(self.options.ledger, "a", encoding="ascii") as file:
                file.write(line + "\n")
        else:
            print(line, flush=True)

    async def sample(self):
        while True:
            counts = self.ledger.counts
            self.ledger.samples.append([time.time_ns() // 1_000_000, counts["recipients"], counts["deliveries"]])
            await asyncio.sleep(1)

    async def run(self):
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(fail)
        host, port = self.options.listen.rsplit(":", 1)
        server = await loop.create_server(lambda: Client(self), host, int(port), backlog=1024)
        sampler = asyncio.ensure_future(self.sample())
        ended = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, self.lose)
        loop.add_signal_handler(signal.SIGUSR2, self.write)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        await ended.wait()
        server.close()
        self.is_ending = True
        for client in list(self.clients):
            client.transport.abort()
        self.lose()
        sampler.cancel()
        # What is being handed over is out or not, and the next hop says which.
        for _ in range(200):
            if not any(session.message for session in self.sessions):
                break
            await asyncio.sleep(0.01)
        self.lose()
        self.write(is_final=True)


def fail(loop, context):
    """A fault of this program: no account is better than a wrong one."""
    loop.default_exception_handler(context)
    os._exit(1)


def arguments():
    kinds = "; ".join(f"{fault}: {does}" for fault, does in {**FAULTS, **HARMLESS}.items())
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], epilog=f"Faults: {kinds}.")
    parser.add_argument("--listen", default="127.0.0.1:2525", metavar="HOST:PORT")
    parser.add_argument("--next", default="127.0.0.1:2600", metavar="HOST:PORT", help="where it delivers to")
    parser.add_argument("--lmtp", action="store_true", help="deliver by LMTP")
    parser.add_argument("--name", default="relay.test", help="its own name")
    parser.add_argument("--sessions", type=int, default=8, help="sessions to the next hop at once, at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault", action="append", default=[], metavar="KIND[=N]", help="one message in N, by chance")
    parser.add_argument("--once", action="store_true", help="a message that is sent again after a 4yz reply or a lost one has no fault any more")
    parser.add_argument("--defer", type=float, default=0, metavar="N", help="one recipient in N, by chance, is refused with 450 the first time")
    parser.add_argument("--hold", default="", metavar="TIME", help="seconds: fixed:0.1, uniform:LOW:HIGH, exponential:MEAN, lognormal:MEDIAN:SIGMA")
    parser.add_argument("--rate", type=float, default=0, help="messages a second that leave, at most")
    parser.add_argument("--service", choices=["fixed", "exponential"], default="fixed", help="how regularly they leave")
    parser.add_argument("--retry", type=float, default=1.0, help="seconds until a 4yz reply is tried again")
    parser.add_argument("--returns", choices=["headers", "full"], default="headers", help="what a notification returns")
    parser.add_argument("--ledger", metavar="FILE", help="where the ledger is added; else it is printed")
    options = parser.parse_args()
    for fault in options.fault:
        if fault.partition("=")[0] not in {**FAULTS, **HARMLESS}:
            parser.error(f"no fault {fault}; known are {', '.join([*FAULTS, *HARMLESS])}")
    return options


if __name__ == "__main__":
    try:
        asyncio.run(Relay(arguments()).run())
    except OSError as error:
        sys.exit(f"relay.py: {error}")
