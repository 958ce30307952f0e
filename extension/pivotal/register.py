"""Joins a host and its page to the trainer."""

from __future__ import annotations

import logging
from typing import Any

from pivotal.api.panels import Panel, Query
from pivotal.api.routes import attach_routes
from pivotal.config.train import TrainConfig
from pivotal.errors import HostError
from pivotal.hosts.detect import detect
from pivotal.hosts.progress import ShowsProgress
from pivotal.hosts.protocol import Host, Shell
from pivotal.jobs.desk import Desk
from pivotal.ui.access import draw_access, draw_task
from pivotal.ui.compare import compare_html, compare_version, files_html, files_version
from pivotal.ui.dataset import dataset_html, dataset_version
from pivotal.ui.labels import label_of_key
from pivotal.ui.progress import progress_html, view_version
from pivotal.ui.queue import queue_html, queue_version
from pivotal.ui.result import ResultCards
from pivotal.ui.samples import samples_html, samples_version
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
    desk.queue.recover()
    logins = shell.logins()

    def draw() -> None:
        if logins.page or logins.api:
            draw_access()
        if isinstance(host, ShowsProgress):
            draw_task(host.progress_task)
        build_tab(desk)

    shell.add_tab(title, TAB_ID, draw)
    shell.add_routes(lambda app: attach_routes(app, desk, panels(desk), logins))
    return desk


def panels(desk: Desk) -> dict[str, Panel]:
    """What the server draws of the page, by name: the page asks for it at ``/pivotal/v1/panel/<name>``."""

    def facts() -> dict[str, Any]:
        view = desk.view()
        return {"run": view.id, "state": view.state, "problems": view.problems}

    cards = ResultCards(desk.host.folders)

    def job(query: Query) -> str:
        view = desk.view()
        return progress_html(view, lambda key: label_of_key(TrainConfig, key), cards.html(view), query)

    def job_version(_query: Query) -> str:
        view = desk.view()
        return view_version(view) + cards.version(view)

    return {"job": Panel(job, job_version, facts),
            "samples": Panel(lambda query: samples_html(desk.view(), query), lambda _query: samples_version(desk.view())),
            **_compare_panels(desk), **_queue_panel(desk), **_dataset_panel(desk)}


def _dataset_panel(desk: Desk) -> dict[str, Panel]:
    datasets = desk.datasets
    return {"dataset": Panel(lambda query: dataset_html(datasets, query), lambda query: dataset_version(datasets, query))}


def _queue_panel(desk: Desk) -> dict[str, Panel]:
    def shown(query: Query) -> str:
        return queue_html(desk.queue, query, lambda key: label_of_key(TrainConfig, key))

    return {"queue": Panel(shown, lambda query: queue_version(desk.queue, query))}


def _compare_panels(desk: Desk) -> dict[str, Panel]:
    comparisons, folders = desk.comparisons, desk.host.folders
    return {"compare": Panel(lambda _query: compare_html(comparisons.view()), lambda _query: compare_version(comparisons.view())),
            "compare_files": Panel(lambda query: files_html(folders(), query.get("find", "")),
                                   lambda query: files_version(folders(), query.get("find", "")))}


def register_in_webui() -> None:
    """For scripts/ of a WebUI: finds out which one this is. The WebUI starts all the same if it cannot be served."""
    try:
        host, shell = detect()
        _process["desk"] = register(host, shell, _process.get("desk"), getattr(shell, "title", "Train"))
    except HostError as error:
        log.error("Pivotal's Train tab is not available: %s", error)
