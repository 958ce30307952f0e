"""A page that is served to this machine alone answers to this machine's names alone."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class OwnNames:
    """ASGI middleware against pages of other sites that let their own name lead here (DNS rebinding).

    A browser takes such a page and ours for one site, and lets it do all that ours can. It cannot choose the name that it asks
    for; and no address in digits can be made to lead elsewhere.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan" or is_own(dict(scope["headers"]).get(b"host", b"").decode("latin-1")):
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            refusal = ("This page is served to this machine alone, and was asked for by another name. Open it as "
                       f"http://127.0.0.1:{scope['server'][1]}; with --gradio-auth NAME:PASSWORD every name will do.")
            await PlainTextResponse(refusal, 403)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})


def is_own(host: str) -> bool:
    """Whether a request's ``Host`` names this machine: by an address in digits, as localhost, or not at all (HTTP/1.0)."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name in ("", "localhost") or name.endswith(".localhost"):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
