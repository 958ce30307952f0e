"""What the page's scripts are told of the host, and is not to be seen."""

from __future__ import annotations

from html import escape

from pivotal.jobs.signed import page_cookie, page_key
from pivotal.ui.gradio_compat import html


def draw_access() -> None:
    """Gives whoever has got the page its key (javascript/pivotal_access.js): the host's login, if it has one, stands before."""
    html(f'<div hidden data-pivotal-access="{page_cookie()}={page_key()}"></div>', elem_id="pivotal_access")


def draw_task(task: str) -> None:
    """Names the task for which the host's own progress bar is shown (javascript/pivotal_host_progress.js)."""
    html(f'<div hidden data-pivotal-task="{escape(task)}"></div>', elem_id="pivotal_task")
