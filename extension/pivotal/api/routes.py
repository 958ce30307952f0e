"""The HTTP API under ``/pivotal/v1``: plain JSON in and out, so that pydantic 1, 2 or none is the same to it."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from pivotal.api.plain import plain
from pivotal.config.build import draft, flat_from_nested
from pivotal.config.derived import json_schema
from pivotal.config.imports.read import imported
from pivotal.config.presets import list_presets
from pivotal.config.train import TrainConfig
from pivotal.errors import OptionError, PivotalError
from pivotal.jobs.desk import Desk
from pivotal.jobs.plan_words import plan_lines
from pivotal.jobs.schedule_preview import courses
from pivotal.jobs.user_presets import presets_folder
from pivotal.jobs.view import JobView
from pivotal.prompts.counting import count_tokens

log = logging.getLogger(__name__)

PREFIX = "/pivotal/v1"
_FOR_OTHERS = ("dataset.folder", "embeddings")  # problems that decide nothing about learning rates
_MOST_VECTORS = 75  # of an embedding: what one chunk of a prompt holds
_LONGEST_FILE = 1_000_000  # characters of an import
_LONGEST_TEXT = 100_000  # characters; a count beyond that serves nobody and would hold a thread


class Panel:
    """How a run is shown as HTML; `ui` makes it, for the API may not know the page."""

    def __init__(self, html: Callable[[JobView], str], version: Callable[[JobView], str]):
        self.html, self.version = html, version


def attach_routes(app: Any, desk: Desk, panel: Panel) -> None:
    """Puts the API in front of what `app` serves already: gradio answers every path that is not taken before it."""
    served = _Routes(desk, panel)
    routes = app.router.routes
    routes[:] = [route for route in routes if not getattr(route, "path", "").startswith(PREFIX + "/")]
    for position, (path, method, endpoint) in enumerate(served.all()):
        routes.insert(position, Route(PREFIX + path, _guarded(endpoint), methods=[method], include_in_schema=False))


class _Refused(PivotalError):
    """A request that cannot be served, with its HTTP status."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status = status


class _Routes:
    def __init__(self, desk: Desk, panel: Panel):
        self.desk, self.panel = desk, panel

    def all(self) -> list[tuple[str, str, Callable[[Request], Awaitable[Response]]]]:
        return [("/tokens", "POST", self.tokens), ("/options", "GET", self.options), ("/check", "POST", self.check),
                ("/plan", "POST", self.plan), ("/presets", "GET", self.presets), ("/import", "POST", self.import_settings),
                ("/schedule", "POST", self.schedule), ("/jobs", "POST", self.start), ("/job/stop", "POST", self.stop),
                ("/job/sample", "POST", self.sample), ("/job/save", "POST", self.save), ("/job", "GET", self.job),
                ("/job/panel", "GET", self.job_panel), ("/file", "GET", self.file),
                ("/host", "GET", self.host)]

    async def tokens(self, request: Request) -> Response:
        """{"text", "kind": "prompt" or "caption", "wanted": vectors to fill, "embeddings": {name: vectors of more}}."""
        body = await _body(request)
        text, kind = body.get("text", ""), body.get("kind", "prompt")
        if not isinstance(text, str) or len(text) > _LONGEST_TEXT:
            raise _Refused(400, f"text must be a string of at most {_LONGEST_TEXT} characters")
        if kind not in ("prompt", "caption"):
            raise _Refused(400, f"kind must be prompt or caption, not {kind!r}")
        extra, wanted = _vector_counts(body.get("embeddings", {})), body.get("wanted")
        if wanted is not None and not _is_vector_count(wanted):
            raise _Refused(400, f"wanted must be a whole number from 1 to {_MOST_VECTORS}, or null")

        def count() -> Any:
            context = self.desk.host.prompt_context()
            if not context.encoders:
                raise _Refused(503, "the host has no checkpoint yet whose tokenizer could count")
            return count_tokens(text, context.encoders, {**context.embeddings, **extra}, kind=kind, wanted=wanted)

        return _answer(await run_in_threadpool(count))

    async def options(self, request: Request) -> Response:
        return _answer(json_schema(TrainConfig))

    async def check(self, request: Request) -> Response:
        flat = _flat(await _body(request))
        return _answer({"problems": await run_in_threadpool(self.desk.check, flat)})

    async def plan(self, request: Request) -> Response:
        """What a run would see: images, sizes, steps and epochs. Nothing is started."""
        flat = _flat(await _body(request))
        plan, notices = await run_in_threadpool(self.desk.plan, flat)
        return _answer({"plan": plan, "words": plan_lines(plan), "notices": notices})

    async def presets(self, request: Request) -> Response:
        """Each preset's name, title, words and options; the user's own are marked."""
        found = await run_in_threadpool(list_presets, presets_folder(self.desk.host.folders()))
        return _answer({"presets": list(found.values())})

    async def import_settings(self, request: Request) -> Response:
        """{"text": a file of kohya, OneTrainer or Invoke Training} as options, with what changed and what was left out."""
        body = await _body(request)
        text, name = body.get("text"), body.get("name", "the file")
        if not isinstance(text, str) or not isinstance(name, str) or len(text) > _LONGEST_FILE:
            raise _Refused(400, f"text must be a string of at most {_LONGEST_FILE} characters")
        found = await run_in_threadpool(imported, text, name)
        return _answer({"source": found.source, "options": found.flat, "changed": found.changed, "unknown": found.unknown,
                        "quiet": found.quiet, "problems": draft(TrainConfig, found.flat)[1]})

    async def schedule(self, request: Request) -> Response:
        """The learning rates of a run's parts over its steps, from its options alone."""
        config, problems = draft(TrainConfig, _flat(await _body(request)))
        unknown = {key: text for key, text in problems.items() if key not in _FOR_OTHERS}
        if unknown:
            raise OptionError(unknown)
        return _answer(await run_in_threadpool(courses, config))

    async def start(self, request: Request) -> Response:
        body = await _body(request)
        flat, resume = _flat(body), body.get("resume") is True
        try:
            return _answer({"id": await run_in_threadpool(lambda: self.desk.start(flat, resume=resume))})
        except OptionError:
            raise
        except PivotalError as error:
            running = self.desk.view().state in ("running", "stopping")
            raise _Refused(409 if running else 400, str(error)) from error

    async def stop(self, request: Request) -> Response:
        await _body(request)
        self.desk.stop()
        return _answer({"state": self.desk.view().state})

    async def sample(self, request: Request) -> Response:
        """Draws the samples after the step that goes on."""
        return await self._asked(request, self.desk.sample_now)

    async def save(self, request: Request) -> Response:
        """Writes a copy and the state after the step that goes on."""
        return await self._asked(request, self.desk.save_now)

    async def _asked(self, request: Request, ask: Callable[[], None]) -> Response:
        await _body(request)
        try:
            ask()
        except PivotalError as error:
            raise _Refused(409, str(error)) from error
        return _answer({"state": self.desk.view().state})

    async def job(self, request: Request) -> Response:
        return _answer(self.desk.view())

    async def job_panel(self, request: Request) -> Response:
        """The progress as HTML, unless the asker's `version` is the newest already."""
        view = self.desk.view()
        version = self.panel.version(view)
        known = {"version": version, "run": view.id, "state": view.state, "problems": view.problems}
        if request.query_params.get("version") == version:
            return _answer(known)
        return _answer({**known, "html": self.panel.html(view)})

    async def host(self, request: Request) -> Response:
        """Which host this is, what it has loaded, and what it makes of a run's files; for bug reports and for tests."""
        host = self.desk.host

        def ask() -> dict[str, Any]:
            return {"name": host.name, "checkpoint": host.checkpoint(), "checkpoints": list(host.checkpoints()),
                    "folders": host.folders(), "reads_bundles": host.reads_bundles, "networks": host.network_reader}

        return _answer(await run_in_threadpool(ask))

    async def file(self, request: Request) -> Response:
        """An image of the current run: nothing else on this machine is handed out."""
        wanted = request.query_params.get("path", "")
        for _, _, path in self.desk.view().samples:
            if str(path) == wanted and path.is_file():
                return FileResponse(str(path), headers={"Cache-Control": "private, max-age=3600"})
        raise _Refused(404, "no such sample in this run")


def _guarded(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Errors as JSON, in words; what was not foreseen is in the log with its traceback, and only there."""

    async def serve(request: Request) -> Response:
        try:
            return await endpoint(request)
        except OptionError as error:
            return JSONResponse({"error": "some options need attention", "problems": error.problems}, 422)
        except _Refused as error:
            return JSONResponse({"error": str(error)}, error.status)
        except PivotalError as error:
            return JSONResponse({"error": str(error)}, 400)
        except Exception:
            log.exception("%s failed", request.url.path)
            return JSONResponse({"error": "that did not work; the host's log says why"}, 500)

    return serve


async def _body(request: Request) -> dict[str, Any]:
    # A page of another origin can send forms and plain text here, but not JSON without the browser asking us first.
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise _Refused(415, "send JSON, with the header Content-Type: application/json")
    text = await request.body()
    try:
        body = json.loads(text or b"{}")
    except ValueError as error:
        raise _Refused(400, f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise _Refused(400, "the body must be a JSON object")
    return body


def _flat(body: dict[str, Any]) -> dict[str, Any]:
    options = body.get("options", {})
    if not isinstance(options, dict):
        raise _Refused(400, "options must be an object, nested or with dotted keys")
    return flat_from_nested(options)


def _vector_counts(counts: Any) -> dict[str, int]:
    if not isinstance(counts, dict) or not all(map(_is_vector_count, counts.values())):
        raise _Refused(400, f"embeddings must map names to their number of vectors, 1 to {_MOST_VECTORS}")
    return counts


def _is_vector_count(value: Any) -> bool:
    return type(value) is int and 0 < value <= _MOST_VECTORS


def _answer(value: Any) -> Response:
    return JSONResponse(plain(value), headers={"Cache-Control": "no-store"})
