"""aiosmtpd on three loopback ports: STARTTLS with AUTH, TLS from the first byte, LMTP. Says each message it has taken.

Usage: listener_in_python.py CHAIN KEY USER PASSWORD STARTTLS_PORT IMPLICIT_PORT LMTP_PORT PROXIED_PORT
"""

import asyncio
import ssl
import sys

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, AuthResult


class Handler:
    """Takes everything."""

    async def handle_PROXY(self, server, session, envelope, proxy_data):
        return True

    async def handle_DATA(self, server, session, envelope):
        cipher = server.transport.get_extra_info("cipher")
        tls = cipher[0] if cipher else "-"
        who = session.auth_data.login.decode() if session.auth_data else "-"
        source = session.proxy_data.src_addr if session.proxy_data else "-"
        print(f"message rcpt={len(envelope.rcpt_tos)} tls={tls} user={who} source={source}", flush=True)
        # A library: the replies of LMTP, one for each recipient, are for its user to write.
        replies = [f"250 OK {recipient}" for recipient in envelope.rcpt_tos]
        return "\r\n".join(replies) if isinstance(server, LMTP) else "250 OK"


async def main(chain, key, user, password, starttls, implicit, lmtp, proxied):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, key)

    def authenticate(server, session, envelope, mechanism, data):
        right = (data.login, data.password) == (user.encode(), password.encode())
        return AuthResult(success=right, handled=False, auth_data=data)

    of_all = {"hostname": "aiosmtpd.test", "authenticator": authenticate}
    for port, make, secure in [
        (starttls, lambda: SMTP(Handler(), tls_context=context, **of_all), None),
        (implicit, lambda: SMTP(Handler(), **of_all), context),
        (lmtp, lambda: LMTP(Handler(), **of_all), None),
        (proxied, lambda: SMTP(Handler(), proxy_protocol_timeout=5, **of_all), None),
    ]:
        await asyncio.get_running_loop().create_server(make, "127.0.0.1", int(port), ssl=secure, backlog=512)
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
