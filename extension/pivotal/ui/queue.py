"""The Queue page: the run that goes on, those that wait, and those that are over, as HTML from a snapshot of the queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from html import escape
from json import dumps
from pathlib import Path
from typing import Any

from pivotal.errors import QueueError
from pivotal.jobs.queue.entries import OPEN, STATES, Entry
from pivotal.jobs.queue.journals import curve_of
from pivotal.jobs.queue.queue import RunQueue
from pivotal.ui.chart import loss_chart
from pivotal.ui.progress import problem_list

API = "pivotal/v1"  # relative to the page
_PAGE, _MOST = 30, 1000  # runs of the history that are shown at first, and at most

Query = Mapping[str, str]


def queue_version(queue: RunQueue, query: Query) -> str:
    """Changes whenever the fragment may have."""
    view = queue.desk.view()
    try:
        revision = queue.store.database.revision()
    except QueueError as error:
        revision = str(error)
    live = f"{view.id}:{view.state}:{view.step}" if queue.worker.current is not None else ""
    return f"{revision}:{live}:{queue.worker.is_working}:{len(queue.notice)}:{sorted(_asked(query).items())}"


def queue_html(queue: RunQueue, query: Query, label: Callable[[str], str] = str) -> str:
    """The page's fragment.

    Args:
        query: `search`, `state`, `limit` of the history; `entry`, the id of the run whose details are open.
        label: gives the page's name of an option.
    """
    asked = _asked(query)
    limit = min(int(asked["limit"]) if asked.get("limit", "").isdigit() else _PAGE, _MOST)
    state = asked.get("state", "")
    try:
        held = queue.worker.open_runs()
        over, count = queue.store.found(search=asked.get("search", ""), state=state if state in STATES else None, limit=limit,
                                        only="history")
    except QueueError as error:
        return _part("head", f'<div class="pivotal-error" role="alert">{escape(str(error))}</div>')
    drawn = _Rows(queue, asked.get("entry", ""), label)
    waiting = [entry for entry in held if entry.state == "waiting"]
    pieces = [_part("head", _head(queue, held))]
    pieces += [_part(f"entry-{entry.id}", drawn.running(entry)) for entry in held if entry.state != "waiting"]
    pieces.append(_part("waiting", _title("Waiting", len(waiting)) if waiting else ""))
    pieces += [_part(f"entry-{entry.id}", drawn.waiting(entry, index, len(waiting))) for index, entry in enumerate(waiting)]
    pieces.append(_part("filter", _filter(asked, count)))
    pieces += [_part(f"entry-{entry.id}", drawn.over(entry)) for entry in over]
    pieces.append(_part("more", _more(limit, count)))
    return "".join(pieces)


def _asked(query: Query) -> dict[str, str]:
    return {name: query[name] for name in ("search", "state", "limit", "entry") if query.get(name)}


def _part(name: str, inner: str) -> str:
    return f'<div class="pivotal-part" data-part="{name}">{inner}</div>'


def _title(text: str, count: int) -> str:
    return f'<div class="pivotal-title">{text} <span>{count}</span></div>'


def _head(queue: RunQueue, held: list[Entry]) -> str:
    if queue.worker.is_working:
        words, button = "Working: the next run begins when this one ends.", _post("Stop after this run", "queue/pause")
    elif not held:
        words, button = ("Empty. Add to queue, beside Train, puts runs here; a press on Train while a run goes on does, too.", "")
    elif any(entry.state == "waiting" for entry in held):
        # Not by itself after a restart: whoever restarts may want the device for prompts, or restarts because of a run.
        words, button = "Not working: what waits begins when you start the queue.", _post("Start the queue", "queue/start",
                                                                                          main=True)
    else:
        words, button = "Nothing waits.", ""
    notice = f'<div class="pivotal-error" role="alert">{escape(queue.notice)}</div>' if queue.notice else ""
    return f'{notice}<div class="pivotal-queue-row"><span>{words}</span><span class="pivotal-spring"></span>{button}</div>'


def _filter(asked: Mapping[str, str], count: int) -> str:
    states = "".join(f'<option value="{state}"{" selected" if asked.get("state") == state else ""}>{state}</option>'
                     for state in STATES if state not in OPEN)
    which = asked["state"] if asked.get("state") in STATES else ""
    clear = _post(f"Clear {which or 'history'}", "queue/clear", {"state": which},
                  confirm=f"Take all {which or 'runs that are over'} out of the history? Their files stay.") if count else ""
    return (f'{_title("History", count)}<div class="pivotal-queue-row pivotal-field">'
            f'<input type="search" placeholder="Search name, placeholder, folder, checkpoint" aria-label="Search the history" '
            f'maxlength="200" data-pivotal-ask="search" value="{escape(asked.get("search", ""), quote=True)}">'
            f'<select data-pivotal-ask="state" aria-label="State"><option value="">all</option>{states}</select>{clear}</div>')


def _more(limit: int, count: int) -> str:
    if count <= limit:
        return ""
    return (f'<button type="button" class="pivotal-small-button" data-pivotal-ask="limit" '
            f'value="{min(max(limit * 4, _PAGE), _MOST)}">Show more ({count - limit} earlier)</button>') if limit < _MOST else (
        f'<div class="pivotal-note">{count - limit} earlier runs; search for them.</div>')


class _Rows:
    """Draws entries, one of them with its details open."""

    def __init__(self, queue: RunQueue, opened: str, label: Callable[[str], str]):
        self.queue, self.opened, self.label = queue, opened, label
        self.live = queue.current()

    def running(self, entry: Entry) -> str:
        if self.live is not None and self.live.id == entry.id:
            entry = self.live
        share = 100 * entry.step / entry.of if entry.of else 0
        bar = (f'<div class="pivotal-bar" role="progressbar" aria-valuenow="{share:.0f}" aria-valuemin="0" aria-valuemax="100">'
               f'<div style="width:{share:.1f}%"></div></div>')
        stop = _post("Stop", "job/stop") if self.live is not None else ""
        return self._row(entry, _steps(entry), stop + self._details_button(entry)) + bar + self._details(entry)

    def waiting(self, entry: Entry, index: int, count: int) -> str:
        move = f"queue/{entry.id}/move"
        buttons = [_post("\u2191", move, {"to": "up"}, "Move up", off=index == 0),
                   _post("\u2193", move, {"to": "down"}, "Move down", off=index == count - 1),
                   _post("\u2912", move, {"to": "top"}, "Move to the top", off=index == 0),
                   _fill("Edit", entry, edit=True), _post("Duplicate", f"queue/{entry.id}/duplicate"),
                   _post("Remove", f"queue/{entry.id}/remove", confirm=f"Remove {entry.name!r} from the queue?"),
                   self._details_button(entry)]
        words = f"{index + 1}. {_folder(entry)}" + (", goes on from its state" if entry.resume else "")
        return self._row(entry, words, "".join(buttons)) + self._details(entry)

    def over(self, entry: Entry) -> str:
        again = f"queue/{entry.id}/retry"
        goes_on = entry.state != "finished" and self.queue.has_state(entry)
        buttons = [_post("Continue", again, {"resume": True}, "Goes on from its state") if goes_on else "",
                   _post("Run again", again, {"resume": False}, "Begins anew",
                         confirm=f"Begin {entry.name!r} anew? Its files will be replaced.") if entry.state != "finished" else "",
                   _fill("Use these settings", entry),
                   _post("Delete", f"queue/{entry.id}/remove",
                         confirm=f"Delete {entry.name!r} from the history? Its files stay."), self._details_button(entry)]
        files = f"{len(entry.files)} file{'' if len(entry.files) == 1 else 's'}" if entry.files else ""
        words = ", ".join(part for part in (_when(entry.ended or entry.started), _steps(entry), files) if part)
        return self._row(entry, words, "".join(buttons)) + self._details(entry)

    def _row(self, entry: Entry, words: str, buttons: str) -> str:
        badge = f'<span class="pivotal-queue-badge" data-badge="{entry.state}">{entry.state.capitalize()}</span>'
        return (f'<div class="pivotal-queue-row" data-state="{entry.state}">{badge}'
                f'<b class="pivotal-queue-name">{escape(entry.name)}</b>'
                f'<span class="pivotal-note pivotal-queue-words">{escape(words)}</span><span class="pivotal-spring"></span>'
                f"{buttons}</div>")

    def _details_button(self, entry: Entry) -> str:
        is_open = entry.id == self.opened
        return (f'<button type="button" class="pivotal-small-button" aria-expanded="{str(is_open).lower()}" '
                f'data-pivotal-ask="entry" value="{"" if is_open else entry.id}">{"Close" if is_open else "Details"}</button>')

    def _details(self, entry: Entry) -> str:
        if entry.id != self.opened:
            return ""
        pieces = [f'<div class="pivotal-error">{escape(entry.message)}</div>' if entry.message else "",
                  problem_list(entry.problems, self.label), _files(entry), self._chart(entry), _log(entry), self._facts(entry),
                  _over(entry)]
        return f'<div class="pivotal-queue-details">{"".join(pieces)}</div>'

    def _chart(self, entry: Entry) -> str:
        chart = loss_chart(*curve_of(entry)) if entry.state not in ("waiting", "running") else ""
        return f'<div class="pivotal-title">Loss</div>{chart}' if chart else ""

    def _facts(self, entry: Entry) -> str:
        facts = [("Dataset", _folder(entry)), ("Checkpoint", str(entry.options.get("checkpoint") or "")),
                 ("Run folder", entry.folder), ("Added", _when(entry.created)), ("Started", _when(entry.started)),
                 ("Id", entry.id)]
        lines = "".join(f"<li>{name}: <code>{escape(text)}</code></li>" for name, text in facts if text)
        events = f'<li><a href="{API}/queue/{entry.id}/events" target="_blank" rel="noopener">All events</a></li>'
        return f'<ul class="pivotal-files">{lines}{events if entry.started else ""}</ul>'


def _over(entry: Entry) -> str:
    """The same recipe for other datasets."""
    fields = (("folder", "Folder whose subfolders are the datasets", "", " pivotal-wide"), ("name", "Run name", "{folder}", ""),
              ("placeholder", "Placeholder", "{folder}", ""))
    inputs = "".join(f'<label class="pivotal-field{wide}"><span class="pivotal-label">{words}</span>'
                     f'<input type="text" name="{name}" value="{value}" maxlength="4000"></label>'
                     for name, words, value, wide in fields)
    return ('<details class="pivotal-fold"><summary>The same recipe over many folders</summary>'
            '<div class="pivotal-form" data-pivotal-form><div class="pivotal-note">Adds a run for each subfolder; {folder} '
            f'becomes its name. All are checked before any is added.</div><div class="pivotal-grid-fields">{inputs}</div>'
            f'<div class="pivotal-buttons">{_post("Add them to the queue", f"queue/{entry.id}/over")}</div></div></details>')


def _files(entry: Entry) -> str:
    rows = "".join(f'<li><b class="pivotal-word">{escape(Path(path).stem)}</b> <code>{escape(path)}</code> {_size(size)}</li>'
                   for path, size in entry.files)
    return f'<div class="pivotal-title">Written</div><ul class="pivotal-files">{rows}</ul>' if rows else ""


def _log(entry: Entry) -> str:
    lines = escape("\n".join(entry.log))
    return f'<div class="pivotal-title">Log</div><pre class="pivotal-log">{lines}</pre>' if lines else ""


def _post(text: str, address: str, body: Mapping[str, Any] | None = None, title: str = "", *, confirm: str = "",
          main: bool = False, off: bool = False) -> str:
    more = f' data-pivotal-confirm="{escape(confirm, quote=True)}"' if confirm else ""
    more += f' title="{title}" aria-label="{title}"' if title else ""
    more += " disabled" if off else ""
    return (f'<button type="button" class="pivotal-small-button{" pivotal-first-button" if main else ""}" '
            f'data-pivotal-post="{address}" data-pivotal-body="{escape(dumps(body or {}), quote=True)}"{more}>{text}</button>')


def _fill(text: str, entry: Entry, *, edit: bool = False) -> str:
    data = escape(dumps({"id": entry.id, "edit": edit}), quote=True)
    return f'<button type="button" class="pivotal-small-button" data-pivotal-fill="{data}">{text}</button>'


def _folder(entry: Entry) -> str:
    return str(entry.options.get("dataset.folder") or "")


def _steps(entry: Entry) -> str:
    if not entry.of:
        return ""
    return f"step {entry.step} of {entry.of}" + (f", loss {entry.loss:.4g}" if entry.loss is not None else "")


def _when(text: str) -> str:
    """In the server's own time zone."""
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M") if text else ""
    except (ValueError, OverflowError, OSError):
        return text


def _size(size: int) -> str:
    return f"{size / 2**20:.1f} MB" if size >= 2**20 else f"{size / 2**10:.1f} kB"
