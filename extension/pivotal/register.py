"""Joins a host and its page to the trainer."""

from __future__ import annotations

import logging

from pivotal.api.routes import Panel, attach_routes
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
    panel = Panel(lambda view: progress_html(view, lambda key: label_of_key(TrainConfig, key)), view_version)
    shell.add_tab(title, TAB_ID, lambda: build_tab(desk))
    shell.add_routes(lambda app: attach_routes(app, desk, panel))
    return desk


def register_in_webui() -> None:
    """For scripts/ of a WebUI: finds out which one this is. The WebUI starts all the same if it cannot be served."""
    try:
        host, shell = detect()
    except HostError as error:
        log.error("Pivotal's Train tab is not available: %s", error)
        return
    desk = _process.get("desk")
    _process["desk"] = register(host, shell, desk, getattr(shell, "title", "Train"))
