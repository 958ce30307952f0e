"""The buttons over a run that goes on: those that would do something now."""

from __future__ import annotations

from html import escape
from json import dumps

from pivotal.jobs.watch.view import BUSY, JobView

_DISCARD = ("Stop and delete what this run has written? Its copies, samples, state and result go, also those from before it was "
            "resumed; files that it had replaced come back.")


def controls_html(view: JobView) -> str:
    """Pause or Resume, the two ways to stop, Sample now and Save now; while the run goes on, each keeps its place."""
    if view.state not in BUSY:
        return ""
    is_on, is_paused = view.state in ("running", "pausing", "paused"), view.state in ("pausing", "paused")
    pause = (_button("Resume", "pivotal_pause", "job/resume", "Goes on exactly where the run was paused", is_on)
             if is_paused else
             _button("Pause", "pivotal_pause", "job/pause", "Gives the model back after this step, so that prompts work", is_on))
    stop = _button("Stop and keep", "pivotal_stop", "job/stop", "Ends the run and writes what it has learned", is_on)
    discard = _button("Stop and discard", "pivotal_discard", "job/stop", "Ends the run and deletes what it has written",
                      is_on or view.state == "stopping", {"keep": False}, _DISCARD)
    more = (_button("Sample now", "pivotal_sample_now", "job/sample", "Draws the sample prompts after this step",
                    view.state == "running")
            + _button("Save now", "pivotal_save_now", "job/save", "Writes a copy and the state after this step",
                      view.state == "running"))
    return f'<div class="pivotal-controls" role="group" aria-label="The run that goes on">{pause}{stop}{discard}{more}</div>'


def _button(words: str, identifier: str, address: str, tip: str, is_on: bool, body: dict[str, object] | None = None,
            confirm: str = "") -> str:
    more = f" data-pivotal-body=\"{escape(dumps(body), quote=True)}\"" if body else ""
    more += f' data-pivotal-confirm="{escape(confirm, quote=True)}"' if confirm else ""
    more += "" if is_on else " disabled"
    return (f'<button type="button" class="pivotal-small-button pivotal-action" id="{identifier}" '
            f'title="{escape(tip, quote=True)}" data-pivotal-post="{address}"{more}>{words}</button>')
