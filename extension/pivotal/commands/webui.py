"""``webui``: serves the page until Ctrl-C."""

from __future__ import annotations

import argparse

from pivotal.hosts.embedded.app import EmbeddedShell, serve
from pivotal.hosts.embedded.host import EmbeddedHost
from pivotal.hosts.logins import logins_of
from pivotal.register import register

SAVING_SECONDS = 60.0


def webui(known: argparse.Namespace) -> int:
    """Returns the exit code."""
    host = EmbeddedHost(known.data_dir, checkpoint=known.checkpoint)
    shell = EmbeddedShell(host, logins_of(known, "gradio_auth", "", "api_auth"))
    desk = register(host, shell)
    # The run's thread would end with the process, and what it learned with it.
    return serve(host, shell, port=known.port, listen=known.listen, open_browser=not known.no_browser,
                 at_end=lambda: desk.queue.close(SAVING_SECONDS))
