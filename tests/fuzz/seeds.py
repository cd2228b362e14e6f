"""Writes what to begin with, for each fuzz target, from what the tests have: dialogues, replies, profiles."""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
TESTS, ROOT = HERE.parent, HERE.parent.parent
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def dialogues():
    """The listener's and the client's bytes of each dialogue."""
    for path in sorted((TESTS / "dialogues").glob("*.txt")):
        for part in path.read_text(encoding="utf-8").split("\n== ")[1:]:
            said = {"S": b"", "C": b""}
            for line in part.split("\n")[1:]:
                who, _, text = line.partition(":")
                text = text.removeprefix(" ")
                if line == "OPEN":
                    said["S"] += b"220 mx\r\n250 mx\r\n"
                    said["C"] += b"EHLO client.test\r\n"
                elif line == "OPEN pipelining":
                    said["S"] += b"220 mx\r\n250-mx\r\n250 PIPELINING\r\n"
                elif line == "LEAVE":
                    said["S"] += b"221 bye\r\n"
                    said["C"] += b"QUIT\r\n"
                elif who == "TLS":
                    said["S"] += b"\x08"
                elif text in ("<close>", "<reset>"):
                    said["S"] += b"\x04" if text == "<close>" else b"\x05"
                elif who in said:
                    said[who] += text.encode() + (b"" if text.endswith("\\") else b"\r\n")
            yield said["S"], said["C"]


def replies():
    for path in sorted((TESTS / "data").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            lines = json.loads(line)["reply"].split("\n")
            yield "".join(f"{line}\r\n" for line in lines).encode()


def seeds():
    listener, client = zip(*dialogues())
    said = list(replies())
    yield "reply", [b"\x02" + reply for reply in said[::5]] + [b"\x00" + content for content in listener]
    yield "client", [bytes([n % 128, n * 37 % 256]) + content for n, content in enumerate(listener)]
    for target in ("request", "server"):
        yield target, [b"\x01" + content for content in client if content] + [
            b"\x00MAIL FROM:<@a,@b:\"x\\\" y\"@[IPv6:::1]> SIZE=1 BODY=8BITMIME\r\n",
            b"\x00EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nRCPT TO:<no@b>\r\nDATA\r\nReceived: x\r\n\r\n..\r\n.\r\nQUIT\r\n",
            b"\x00EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nBDAT 3\r\nabcBDAT 0 LAST\r\nAUTH PLAIN =\r\nXCLIENT ADDR=1.2.3.4\r\n",
        ]
    yield "ehlo", [reply for reply in said if b"-" in reply[:4]] + [
        b"250-mx\r\n250-SIZE 1000\r\n250-AUTH PLAIN LOGIN\r\n250-AUTH=LOGIN\r\n250-XCLIENT NAME ADDR\r\n250 STARTTLS\r\n",
        bytes(range(16)),
    ]
    profiles = [path.read_bytes() for path in sorted((ROOT / "profiles").glob("*.toml"))]
    for snapshot in sorted((ROOT / "src/profile/tests/snapshots").glob("*.snap")):
        profiles.append(snapshot.read_bytes().split(b"---\n", 2)[-1])
    sets = [b"phase.0.rate='1/s'", b"target.address='embedded'", b"session.messages={min=1,max=2}"]
    yield "profile", [b"\x02" + text for text in profiles] + [
        b"\x06" + assignment + b"\n" + text for text in profiles[:6] for assignment in sets
    ]
    yield "proxy", [
        b"PROXY TCP4 127.0.3.7 127.0.0.1 4000 25\r\n",
        b"PROXY TCP6 2001:db8::7 ::1 1 65535\r\n",
        b"PROXY UNKNOWN\r\n",
        SIGNATURE + b"\x20\x00\x00\x00",
        SIGNATURE + b"\x21\x11\x00\x0c" + bytes([127, 0, 3, 7, 127, 0, 0, 1, 15, 160, 0, 25]),
        SIGNATURE + b"\x21\x21\x00\x24" + bytes(36),
        SIGNATURE + b"\x21\x11\x00\x0f" + bytes(12) + b"\x04\x00\x00",
        SIGNATURE + b"\x21\x11\xff\xff",
    ]
    turns = [
        b"\0u\0p",
        b"u\xffp",
        b"<1.2@x>\xffu 0123456789abcdef0123456789abcdef",
        b"n,,n=u,r=fyko+d2lbbFgONRv9qkxdawL\xffc=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfc,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        b"\xffr=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096\xffv=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        b"r=\xfex,s=AAAA,i=1\xffv=AAAA",
        b"r=\xfe,s=,i=0\xffe=other-error",
        b"user=u\x01auth=Bearer p\x01\x01",
        b"n,a=u,\x01auth=Bearer p\x01\x01",
    ]
    yield "login", [bytes([side | number]) + turn for turn in turns for number in range(7) for side in (0, 128)]


for target, inputs in seeds():
    folder = pathlib.Path(sys.argv[1]) / target
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(inputs):
        (folder / f"seed-{number:04}").write_bytes(content)
