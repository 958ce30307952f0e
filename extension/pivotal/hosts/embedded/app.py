"""Serves the embedded host's page."""

from __future__ import annotations

import logging
import os
import socket
import threading
import webbrowser
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI

from pivotal.errors import HostError
from pivotal.hosts.embedded.gradio_compat import mount
from pivotal.hosts.embedded.host import EmbeddedHost
from pivotal.hosts.embedded.own_names import OwnNames
from pivotal.hosts.embedded.page import Tab, build_page
from pivotal.hosts.embedded.static import ADDRESS, HeadTags, serve_static
from pivotal.hosts.protocol import Logins

log = logging.getLogger(__name__)

PATIENCE = 30  # seconds, at the end


class EmbeddedShell:
    """Implements hosts.protocol.Shell: collects what others add until the page is made."""

    def __init__(self, host: EmbeddedHost, logins: Logins | None = None):
        self.host, self._logins = host, logins or Logins()
        self._tabs: list[Tab] = []
        self._routes: list[Callable[[Any], None]] = []

    def add_tab(self, title: str, identifier: str, build: Callable[[], None]) -> None:
        self._tabs.append(Tab(title, identifier, build))

    def add_routes(self, attach: Callable[[Any], None]) -> None:
        self._routes.append(attach)

    def logins(self) -> Logins:
        return self._logins

    def make_app(self) -> FastAPI:
        """The whole application; the page comes last, for it takes every address that is left."""
        app = FastAPI(title="Pivotal", docs_url=None, redoc_url=None)
        app.add_middleware(HeadTags)
        app.add_route(f"/{ADDRESS}/{{name:path}}", serve_static)
        for attach in self._routes:
            attach(app)
        mount(app, build_page(self.host, self._tabs), [self.host.outputs, self.host.folders().scratch],
              self._logins.page)
        return app


def serve(host: EmbeddedHost, shell: EmbeddedShell, *, port: int = 7860, listen: bool = False,
          open_browser: bool = True, at_end: Callable[[], None] = lambda: None) -> int:
    """Serves until Ctrl-C; returns the exit code.

    Args:
        listen: also to other machines; without it, and without a login for the page, only by this machine's own names.
        at_end: called when nobody is served any more, before whoever uses the model is asked to stop.

    Raises:
        HostError: the port is taken or not allowed.
    """
    listener = _listen("0.0.0.0" if listen else "127.0.0.1", port)  # before the page is made, which takes seconds
    app = shell.make_app()
    if not (listen or shell.logins().page):
        app.add_middleware(OwnNames)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
    address = f"http://127.0.0.1:{port}"
    threading.Thread(target=_when_ready, args=(server, address, open_browser), daemon=True).start()
    threading.Thread(target=host.preload, name="preload", daemon=True).start()
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:  # newer uvicorns raise it again once they have shut down
        pass
    finally:
        listener.close()
        at_end()
        # A thread that is inside torch when Python ends aborts the process, and a run could not keep what it learned.
        if not host.settle(PATIENCE):
            log.warning("The model is still in use after %d seconds; leaving all the same.", PATIENCE)
    return 0


def _listen(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name != "nt":  # there it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise HostError(f"Port {port} cannot be used ({reason}). Is another WebUI running? "
                        f"Choose another port: --port {port + 1 if port < 65535 else 7860}") from error
    return listener


def _when_ready(server: uvicorn.Server, address: str, open_browser: bool) -> None:
    pause = threading.Event()
    while not server.started:
        if server.should_exit:
            return
        pause.wait(0.1)
    log.info("Open %s in a browser. Ctrl-C ends the server.", address)
    if open_browser:
        webbrowser.open(address)
