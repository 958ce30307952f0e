"""Joins a host and its page to the trainer."""

from __future__ import annotations

import logging
from typing import Any

from pivotal.api.panels import Panel
from pivotal.api.routes import attach_routes
from pivotal.config.train import TrainConfig
from pivotal.errors import HostError
from pivotal.hosts.detect import detect
from pivotal.hosts.protocol import Host, Shell
from pivotal.jobs.desk import Desk
from pivotal.ui.labels import label_of_key
from pivotal.ui.progress import progress_html, view_version
from pivotal.ui.tab import TAB_ID, build_tab

log = logging.getLogger(__name__)

# The one thing we keep for the whole process. A WebUI's "Reload UI" makes a new page and a new app and runs our script
# again, while this module and a running job's thread live on; the new page must find that job.
_process: dict[str, Desk] = {}


def register(host: Host, shell: Shell, desk: Desk | None = None, title: str = "Train") -> Desk:
    """Puts the tab and the API into `shell`'s page; may be called again for a page made anew.

    Args:
        title: the tab's label; a host with a Train tab of its own needs another.
    """
    desk = desk or Desk(host)
    shell.add_tab(title, TAB_ID, lambda: build_tab(desk))
    shell.add_routes(lambda app: attach_routes(app, desk, panels(desk)))
    return desk


def panels(desk: Desk) -> dict[str, Panel]:
    """What the server draws of the page, by name: the page asks for it at ``/pivotal/v1/panel/<name>``."""

    def facts() -> dict[str, Any]:
        view = desk.view()
        return {"run": view.id, "state": view.state, "problems": view.problems}

    return {"job": Panel(lambda _query: progress_html(desk.view(), lambda key: label_of_key(TrainConfig, key)),
                         lambda _query: view_version(desk.view()), facts)}


def register_in_webui() -> None:
    """For scripts/ of a WebUI: finds out which one this is. The WebUI starts all the same if it cannot be served."""
    try:
        host, shell = detect()
    except HostError as error:
        log.error("Pivotal's Train tab is not available: %s", error)
        return
    desk = _process.get("desk")
    _process["desk"] = register(host, shell, desk, getattr(shell, "title", "Train"))
