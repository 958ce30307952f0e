"""Runs that wait, run, and are over: added, ordered, watched, continued."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from pivotal.api.http import Endpoint, Refused, Served, answer, body_of, options_in, text_in
from pivotal.api.plain import plain
from pivotal.errors import QueueError
from pivotal.jobs.queue.entries import STATES, Entry, is_id
from pivotal.jobs.queue.journals import events_of
from pivotal.jobs.queue.over import MOST, subfolders
from pivotal.jobs.queue.queue import RunQueue
from pivotal.jobs.queue.store import Move, NoSuchRun

_LONGEST, _MOST_LISTED = 4096, 1000  # characters of a path or a search; runs in one answer
_LEFT_OUT = ("options", "log")  # of a run in a list


class QueueRoutes:
    """The queue under ``/queue``, one run of it under ``/queue/{id}``."""

    def __init__(self, queue: RunQueue):
        self.queue = queue

    def all(self) -> Served:
        """Path, method and endpoint of each."""
        served: list[tuple[str, str, Endpoint]] = [
            ("/queue", "GET", self.list), ("/queue", "POST", self.add), ("/queue/start", "POST", self.start),
            ("/queue/pause", "POST", self.pause), ("/queue/clear", "POST", self.clear), ("/queue/{id}", "GET", self.get),
            ("/queue/{id}/events", "GET", self.events), ("/queue/{id}/edit", "POST", self.edit),
            ("/queue/{id}/move", "POST", self.move), ("/queue/{id}/remove", "POST", self.remove),
            ("/queue/{id}/retry", "POST", self.retry), ("/queue/{id}/duplicate", "POST", self.duplicate),
            ("/queue/{id}/over", "POST", self.over)]
        return [(path, method, _told(endpoint)) for path, method, endpoint in served]

    async def list(self, request: Request) -> Response:
        """Query: `search`, `state`, `limit` (100), `offset` (0). The running one comes first, then those that wait."""
        query = request.query_params
        state = query.get("state") or None
        if state is not None and state not in STATES:
            raise Refused(400, f"state must be one of {', '.join(STATES)}, not {state[:40]!r}")
        search = query.get("search", "")
        if len(search) > _LONGEST:
            raise Refused(400, f"search must have at most {_LONGEST} characters")
        limit, offset = _whole(query.get("limit", "100"), "limit"), _whole(query.get("offset", "0"), "offset")

        def look() -> dict[str, Any]:
            found, count = self.queue.store.found(search=search, state=state, limit=min(limit, _MOST_LISTED), offset=offset)
            runs = [self._shown(entry, in_list=True) for entry in found]
            return {"working": self.queue.worker.is_working, "notice": self.queue.notice, "runs": runs, "count": count}

        return answer(await run_in_threadpool(look))

    async def add(self, request: Request) -> Response:
        """{"options", "start": true to begin when nothing runs, "over": see `over`}: the runs added, and notices."""
        body = await body_of(request)
        options, start = options_in(body), _flag(body, "start")
        if "over" in body:
            if not isinstance(body["over"], dict):
                raise Refused(400, 'over must be an object, as {"folder": "/a/folder/of/folders"}')
            folders, patterns = _over(body["over"])
            return await self._added(lambda: self.queue.add_over(options, folders(), **patterns), start)
        return await self._added(lambda: self.queue.add([options]), start)

    async def get(self, request: Request) -> Response:
        """One run with its options, its log, and what became of it."""
        identifier = _id(request)
        return answer(self._shown(await run_in_threadpool(self.queue.store.get, identifier)))

    async def events(self, request: Request) -> Response:
        """The run's events from number `since` (query, 0) on, at most 1000; `next` is what to ask for then."""
        identifier, since = _id(request), _whole(request.query_params.get("since", "0"), "since")

        def look() -> dict[str, Any]:
            entry = self.queue.store.get(identifier)
            found, upto = events_of(entry, since)
            return {"events": found, "next": upto, "state": entry.state}

        return answer(await run_in_threadpool(look))

    async def edit(self, request: Request) -> Response:
        """{"options"}: instead of those that a waiting run has."""
        identifier, body = _id(request), await body_of(request)
        options = options_in(body)
        entry, notices = await run_in_threadpool(self.queue.edit, identifier, options)
        return answer({"runs": [self._shown(entry, in_list=True)], "text": " ".join(notices)})

    async def move(self, request: Request) -> Response:
        """{"to": "up", "down", "top" or "bottom"}, among those that wait."""
        identifier, to = _id(request), (await body_of(request)).get("to")
        if to not in get_args(Move):
            raise Refused(400, f"to must be one of {', '.join(get_args(Move))}")
        await run_in_threadpool(self.queue.store.move, identifier, to)
        return answer({})

    async def remove(self, request: Request) -> Response:
        """Takes the run out of the queue or the history. Its files stay."""
        identifier = _id(request)
        await body_of(request)
        await run_in_threadpool(self.queue.store.remove, identifier)
        return answer({})

    async def retry(self, request: Request) -> Response:
        """{"resume": true goes on from its state, false begins anew, left out goes on where there is a state}."""
        identifier, body = _id(request), await body_of(request)
        resume = _flag(body, "resume") if "resume" in body else None
        entry = await run_in_threadpool(lambda: self.queue.retry(identifier, resume=resume))
        return answer({"runs": [self._shown(entry, in_list=True)]})

    async def duplicate(self, request: Request) -> Response:
        """{"name"}: adds a run of the same options under that name, or one with a number behind it."""
        identifier, body = _id(request), await body_of(request)
        name = text_in(body, "name", _LONGEST, "")

        def copy() -> tuple[list[Entry], list[str]]:
            entry, notices = self.queue.duplicate(identifier, name)
            return [entry], notices

        return await self._added(copy, start=False)

    async def over(self, request: Request) -> Response:
        """{"folder": one whose subfolders are datasets, or "folders": a list, "name", "placeholder": patterns with {folder}}."""
        identifier, body = _id(request), await body_of(request)
        folders, patterns = _over(body)
        return await self._added(lambda: self.queue.add_over(self.queue.store.get(identifier).options, folders(), **patterns),
                                 _flag(body, "start"))

    async def start(self, request: Request) -> Response:
        """Works the queue until it is empty."""
        await body_of(request)
        await run_in_threadpool(self.queue.start)
        return answer({"working": True})

    async def pause(self, request: Request) -> Response:
        """Takes no further run; the one that is going on goes on."""
        await body_of(request)
        self.queue.pause()
        return answer({"working": False})

    async def clear(self, request: Request) -> Response:
        """{"state"}: takes what is over, or only what is in that state, out of the history. Files stay."""
        state = (await body_of(request)).get("state") or None
        if state is not None and state not in STATES:
            raise Refused(400, f"state must be one of {', '.join(STATES)}")
        return answer({"removed": await run_in_threadpool(self.queue.store.clear, state)})

    async def _added(self, work: Callable[[], tuple[list[Entry], list[str]]], start: bool) -> Response:
        def added() -> dict[str, Any]:
            entries, notices = work()
            if start:
                self.queue.start()
            count = "Added 1 run." if len(entries) == 1 else f"Added {len(entries)} runs."
            return {"runs": [self._shown(entry, in_list=True) for entry in entries], "text": " ".join([count, *notices])}

        return answer(await run_in_threadpool(added))

    def _shown(self, entry: Entry, *, in_list: bool = False) -> dict[str, Any]:
        live = self.queue.current()
        if live is not None and live.id == entry.id:
            entry = replace(entry, state=live.state, step=live.step, of=live.of, loss=live.loss)
        shown = plain(entry)
        return {key: shown[key] for key in shown if not (in_list and key in _LEFT_OUT)}


def _told(endpoint: Endpoint) -> Endpoint:
    """404 for a run that is not there, 409 for what the queue or the run's state does not allow now."""

    async def serve(request: Request) -> Response:
        try:
            return await endpoint(request)
        except NoSuchRun as error:
            raise Refused(404, str(error)) from error
        except QueueError as error:
            raise Refused(409, str(error)) from error

    return serve


def _id(request: Request) -> str:
    identifier = request.path_params["id"]
    if not is_id(identifier):
        raise Refused(404, f"{identifier[:40]!r} is no run's id; those have twelve letters and digits")
    return identifier


def _whole(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Refused(400, f"{name} must be a whole number, not {text[:40]!r}")
    return int(text)


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise Refused(400, f"{name} must be true or false")
    return value


def _over(body: dict[str, Any]) -> tuple[Callable[[], list[Path]], dict[str, str]]:
    """What finds the folders, and the patterns that were given."""
    patterns = {name: text for name in ("name", "placeholder") if (text := text_in(body, name, _LONGEST, "").strip())}
    given = body.get("folders")
    if given is None:
        folder = text_in(body, "folder", _LONGEST, "")
        return lambda: subfolders(folder), patterns
    if not isinstance(given, list) or len(given) > MOST or not all(isinstance(one, str) and one.strip() for one in given):
        raise Refused(400, f"folders must be a list of at most {MOST} paths")
    return lambda: [Path(one.strip()).expanduser() for one in given], patterns
