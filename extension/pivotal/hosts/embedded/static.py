"""Our scripts and styles in the page: served as files, and named in its head whatever gradio makes of the page."""

from __future__ import annotations

from html import escape
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import pivotal

ROOT = Path(pivotal.__file__).resolve().parents[2]
ADDRESS = "pivotal/static"
OWN_STYLE = Path(__file__).with_name("page.css")


def static_files(root: Path = ROOT) -> dict[str, Path]:
    """Address under `ADDRESS` -> file: what a WebUI would take from an extension's folder."""
    found = {f"javascript/{path.name}": path for path in sorted((root / "javascript").glob("*.js"))}
    if (root / "style.css").is_file():
        found["style.css"] = root / "style.css"
    return found


def head_tags(root: Path = ROOT) -> str:
    """Relative addresses, so that a proxy may put the page anywhere; with the file's time, so that caches are no trap."""
    tags = [f"<style>{OWN_STYLE.read_text('utf-8')}</style>"]
    for name, path in static_files(root).items():
        address = escape(f"{ADDRESS}/{name}?{path.stat().st_mtime_ns}")
        is_style = name.endswith(".css")
        tags.append(f'<link rel="stylesheet" href="{address}">' if is_style else f'<script defer src="{address}"></script>')
    return "\n".join(tags)


async def serve_static(request: Request) -> Response:
    """The endpoint of ``/pivotal/static/{name:path}``."""
    path = static_files().get(request.path_params["name"])
    return FileResponse(str(path)) if path else PlainTextResponse("There is no such file.", 404)


class HeadTags:
    """ASGI middleware that adds `head_tags` to the page itself and leaves everything else alone."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["path"] != scope.get("root_path", "") + "/" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        plain = [(name, value) for name, value in scope["headers"] if name.lower() != b"accept-encoding"]
        await self.app({**scope, "headers": plain}, receive, _Page(send).take)


class _Page:
    """Holds an answer back until it is whole."""

    def __init__(self, send: Send):
        self.send = send
        self.start: Message = {}
        self.body = b""

    async def take(self, message: Message) -> None:
        """One message of the application's answer."""
        if message["type"] == "http.response.start":
            self.start = message
            return
        if message["type"] != "http.response.body":  # a test client is told of the template, for one
            await self.send(message)
            return
        self.body += message.get("body", b"")
        if message.get("more_body"):
            return
        headers = [(name, value) for name, value in self.start["headers"] if name.lower() != b"content-length"]
        if any(name.lower() == b"content-type" and value.startswith(b"text/html") for name, value in headers):
            self.body = self.body.replace(b"</head>", head_tags().encode() + b"\n</head>", 1)
        headers.append((b"content-length", str(len(self.body)).encode()))
        await self.send({**self.start, "headers": headers})
        await self.send({"type": "http.response.body", "body": self.body})
