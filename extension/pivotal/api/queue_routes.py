"""Runs that wait, run, and are over: added, ordered, watched, continued."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import wraps
from pathlib import Path
from typing import Any, get_args, get_type_hints

from starlette.concurrency import run_in_threadpool

from pivotal.api.fields import LONGEST_PATH, Field, choice, flag, or_null, text, whole
from pivotal.api.http import OPTIONS, Asked, Endpoint, Refused, Route, Served
from pivotal.api.plain import plain
from pivotal.errors import QueueError
from pivotal.jobs.queue.entries import STATES, Entry, State, is_id
from pivotal.jobs.queue.journals import events_of
from pivotal.jobs.queue.over import MOST, folder_typed, subfolders
from pivotal.jobs.queue.queue import RunQueue
from pivotal.jobs.queue.store import Move, NoSuchRun

_MOST_LISTED = 1000  # runs in one answer
_LEFT_OUT = ("options", "log")  # of a run in a list
_HINTS = get_type_hints(Entry)
_LISTED = {field.name: _HINTS[field.name] for field in fields(Entry) if field.name not in _LEFT_OUT}
_ID = Field("id", "The run's id: twelve letters and digits.", {"type": "string"}, required=True, checked=False)
_PATTERNS = (text("name", "Each run's name; {folder} stands for the folder's.", LONGEST_PATH),
             text("placeholder", "Each run's placeholder, likewise.", LONGEST_PATH))
_OVER = (
    text("folder", "A folder whose subfolders are datasets.", LONGEST_PATH),
    Field("folders", "The datasets' folders, in its place.",
          {"type": ["array", "null"], "maxItems": MOST, "items": {"type": "string", "maxLength": LONGEST_PATH}}), *_PATTERNS)
_OVER_OBJECT = Field("over", "Adds a run of these options for each of several folders.", {
    "type": "object", "properties": {field.name: {**field.schema, "description": field.help} for field in _OVER}})


class QueueRoutes:
    """The queue under ``/queue``, one run of it under ``/queue/{id}``."""

    def __init__(self, queue: RunQueue):
        self.queue = queue

    def all(self) -> Served:
        """What is served here."""
        start = flag("start", "Begins when nothing runs.")
        return [
            Route("/queue", "GET", _told(self.list),
                  {"working": bool, "notice": str, "runs": [_LISTED], "count": int},
                  query=(text("search", "Words of name, placeholder, folder or checkpoint.", LONGEST_PATH),
                         choice("state", "Only runs in this state.", STATES), whole("limit", "At most so many.", default=100),
                         whole("offset", "Leaves out so many of the first.", default=0))),
            Route("/queue", "POST", _told(self.add), {"runs": [_LISTED], "text": str}, (OPTIONS, start, _OVER_OBJECT),
                  refuses=(409, 422), strict=True),
            Route("/queue/start", "POST", _told(self.start), {"working": bool}, refuses=(409,)),
            Route("/queue/pause", "POST", _told(self.pause), {"working": bool}),
            Route("/queue/clear", "POST", _told(self.clear), {"removed": int},
                  (or_null(text("state", f"Only those in this state: {', '.join(STATES)}. Empty is all.", 40)),), refuses=(409,)),
            self._of_one("", "GET", self.get, Entry),
            self._of_one("/events", "GET", self.events, {"events": [{"event?": str}], "next": int, "state": State},
                         query=(whole("since", "The first number that is wanted.", default=0),), refuses=(409,)),
            self._of_one("/edit", "POST", self.edit, {"runs": [_LISTED], "text": str}, (OPTIONS,), refuses=(409, 422)),
            self._of_one("/move", "POST", self.move, {}, (choice("to", "Where to.", get_args(Move), required=True),),
                         refuses=(409,)),
            self._of_one("/remove", "POST", self.remove, {}, refuses=(409,)),
            self._of_one("/retry", "POST", self.retry, {"runs": [_LISTED]}, (or_null(flag(
                "resume", "Goes on from its state; false begins anew; left out goes on where there is a state.",
                default=None)),), refuses=(409, 422)),
            self._of_one("/duplicate", "POST", self.duplicate, {"runs": [_LISTED], "text": str},
                         (text("name", "The copy's name; empty puts a number behind the run's.", LONGEST_PATH),),
                         refuses=(409, 422)),
            self._of_one("/over", "POST", self.over, {"runs": [_LISTED], "text": str}, (*_OVER, start), refuses=(409, 422)),
        ]

    def _of_one(self, path: str, method: str, endpoint: Endpoint, answers: Any, body: tuple[Field, ...] = (), *,
                query: tuple[Field, ...] = (), refuses: tuple[int, ...] = ()) -> Route:
        return Route(f"/queue/{{id}}{path}", method, _told(endpoint), answers, body, query, (_ID,), (404, *refuses))

    async def list(self, asked: Asked) -> Any:
        """The runs: first the one that goes on, then those that wait, then those that are over."""
        query = asked.query

        def look() -> dict[str, Any]:
            found, count = self.queue.store.found(search=query["search"], state=query["state"],
                                                  limit=min(query["limit"], _MOST_LISTED), offset=query["offset"])
            runs = [self._shown(entry, in_list=True) for entry in found]
            return {"working": self.queue.worker.is_working, "notice": self.queue.notice, "runs": runs, "count": count}

        return await run_in_threadpool(look)

    async def add(self, asked: Asked) -> Any:
        """Adds a run to those that wait, or one for each of several folders."""
        options, over = asked.options, asked.body["over"]
        if over is not None:
            folders, patterns = _over(over)
            return await self._added(lambda: self.queue.add_over(options, folders(), **patterns), asked.body["start"])
        return await self._added(lambda: self.queue.add([options]), asked.body["start"])

    async def get(self, asked: Asked) -> Any:
        """One run with its options, its log, and what became of it."""
        return self._shown(await run_in_threadpool(self.queue.store.get, _id(asked)))

    async def events(self, asked: Asked) -> Any:
        """The run's events from a number on, at most 1000; `next` is what to ask for then."""
        identifier, since = _id(asked), asked.query["since"]

        def look() -> dict[str, Any]:
            entry = self.queue.store.get(identifier)
            found, upto = events_of(entry, since)
            return {"events": found, "next": upto, "state": entry.state}

        return await run_in_threadpool(look)

    async def edit(self, asked: Asked) -> Any:
        """Gives a run that waits other options."""
        entry, notices = await run_in_threadpool(self.queue.edit, _id(asked), asked.options)
        return {"runs": [self._shown(entry, in_list=True)], "text": " ".join(notices)}

    async def move(self, asked: Asked) -> Any:
        """Moves a run among those that wait."""
        await run_in_threadpool(self.queue.store.move, _id(asked), asked.body["to"])
        return {}

    async def remove(self, asked: Asked) -> Any:
        """Takes the run out of the queue or the history. Its files stay."""
        await run_in_threadpool(self.queue.store.remove, _id(asked))
        return {}

    async def retry(self, asked: Asked) -> Any:
        """Adds a run that is over once more."""
        entry = await run_in_threadpool(lambda: self.queue.retry(_id(asked), resume=asked.body["resume"]))
        return {"runs": [self._shown(entry, in_list=True)]}

    async def duplicate(self, asked: Asked) -> Any:
        """Adds a run of the same options under another name."""
        def copy() -> tuple[list[Entry], list[str]]:
            entry, notices = self.queue.duplicate(_id(asked), asked.body["name"])
            return [entry], notices

        return await self._added(copy, start=False)

    async def over(self, asked: Asked) -> Any:
        """Adds a run of the same options for each of several folders."""
        identifier, (folders, patterns) = _id(asked), _over(asked.body)
        return await self._added(lambda: self.queue.add_over(self.queue.store.get(identifier).options, folders(), **patterns),
                                 asked.body["start"])

    async def start(self, asked: Asked) -> Any:
        """Works the queue until it is empty."""
        await run_in_threadpool(self.queue.start)
        return {"working": True}

    async def pause(self, asked: Asked) -> Any:
        """Takes no further run; the one that is going on goes on."""
        self.queue.pause()
        return {"working": False}

    async def clear(self, asked: Asked) -> Any:
        """Takes what is over out of the history. Files stay."""
        state = asked.body["state"] or None
        if state is not None and state not in STATES:
            raise Refused(400, f"state must be one of {', '.join(STATES)}")
        return {"removed": await run_in_threadpool(self.queue.store.clear, state)}

    async def _added(self, work: Callable[[], tuple[list[Entry], list[str]]], start: bool) -> Any:
        def added() -> dict[str, Any]:
            entries, notices = work()
            if start:
                self.queue.start()
            count = "Added 1 run." if len(entries) == 1 else f"Added {len(entries)} runs."
            return {"runs": [self._shown(entry, in_list=True) for entry in entries], "text": " ".join([count, *notices])}

        return await run_in_threadpool(added)

    def _shown(self, entry: Entry, *, in_list: bool = False) -> dict[str, Any]:
        live = self.queue.current()
        if live is not None and live.id == entry.id:
            entry = replace(entry, state=live.state, step=live.step, of=live.of, loss=live.loss)
        shown = plain(entry)
        return {key: shown[key] for key in shown if not (in_list and key in _LEFT_OUT)}


def _told(endpoint: Endpoint) -> Endpoint:
    """404 for a run that is not there, 409 for what the queue or the run's state does not allow now."""

    @wraps(endpoint)
    async def serve(asked: Asked) -> Any:
        try:
            return await endpoint(asked)
        except NoSuchRun as error:
            raise Refused(404, str(error)) from error
        except QueueError as error:
            raise Refused(409, str(error)) from error

    return serve


def _id(asked: Asked) -> str:
    identifier = asked.path["id"]
    if not is_id(identifier):
        raise Refused(404, f"{identifier[:40]!r} is no run's id; those have twelve letters and digits")
    return identifier


def _over(body: Mapping[str, Any]) -> tuple[Callable[[], list[Path]], dict[str, str]]:
    """What finds the folders, and the patterns that were given."""
    patterns = {field.name: words for field in _PATTERNS if (words := (body.get(field.name) or "").strip())}
    given = body.get("folders")
    if given is None:
        return lambda: subfolders(body.get("folder") or ""), patterns
    if not all(one.strip() for one in given):
        raise Refused(400, "folders must be a list of paths, none of them empty")
    return lambda: [folder_typed("folders", one) for one in given], patterns
