"""The run that goes on: started, steered and watched."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from pivotal.api.http import Refused, Served, answer, body_of, options_in
from pivotal.errors import OptionError, PivotalError
from pivotal.jobs.desk import Desk
from pivotal.jobs.watch.view import BUSY, sample_address

_KEPT = {"Cache-Control": "private, max-age=3600"}  # of one run; another has another address
_LARGEST = 1024  # px of a small image


class JobRoutes:
    """One job at a time."""

    def __init__(self, desk: Desk):
        self.desk = desk

    def all(self) -> Served:
        """Path, method and endpoint of each."""
        return [("/jobs", "POST", self.start), ("/job/stop", "POST", self.stop), ("/job/pause", "POST", self.pause),
                ("/job/resume", "POST", self.resume), ("/job/sample", "POST", self.sample),
                ("/job/save", "POST", self.save), ("/job", "GET", self.job), ("/job/events", "GET", self.events),
                ("/job/samples", "GET", self.samples), ("/job/samples/{number}", "GET", self.image),
                ("/file", "GET", self.file)]

    async def start(self, request: Request) -> Response:
        """{"options", "resume": true to go on with the run of that name}: the run's id."""
        body = await body_of(request)
        flat, resume = options_in(body), body.get("resume") is True
        try:
            return answer({"id": await run_in_threadpool(lambda: self.desk.queue.begin(flat, resume=resume))})
        except OptionError:
            raise
        except PivotalError as error:
            raise Refused(409 if self.desk.view().state in BUSY else 400, str(error)) from error

    async def stop(self, request: Request) -> Response:
        """{"keep": false to delete what the run wrote}: stops after the step that goes on; keeps what is learned."""
        body = await body_of(request)
        keep = body.get("keep", True)
        if not isinstance(keep, bool):
            raise Refused(400, f"keep must be true or false, not {keep!r}")
        self.desk.stop(keep=keep)
        return answer({"state": self.desk.view().state})

    async def pause(self, request: Request) -> Response:
        """Gives the model back to the host after the step that goes on; the run waits."""
        return await self._asked(request, self.desk.pause)

    async def resume(self, request: Request) -> Response:
        """A paused run goes on."""
        return await self._asked(request, self.desk.resume_paused)

    async def sample(self, request: Request) -> Response:
        """Draws the samples after the step that goes on."""
        return await self._asked(request, self.desk.sample_now)

    async def save(self, request: Request) -> Response:
        """Writes a copy and the state after the step that goes on."""
        return await self._asked(request, self.desk.save_now)

    async def _asked(self, request: Request, ask: Callable[[], None]) -> Response:
        await body_of(request)
        try:
            ask()
        except PivotalError as error:
            raise Refused(409, str(error)) from error
        return answer({"state": self.desk.view().state})

    async def job(self, request: Request) -> Response:
        """The run as it is now."""
        return answer(self.desk.view())

    async def events(self, request: Request) -> Response:
        """What has happened in the run since event number `since` (query); `next` is what to ask for then."""
        return answer(self.desk.events(_whole(request.query_params.get("since", "0"), "since")))

    async def samples(self, request: Request) -> Response:
        """The run's samples from number `since` (query) on, each with its address."""
        view, since = self.desk.view(), _whole(request.query_params.get("since", "0"), "since")
        return answer({"run": view.id, "samples": [
            {"number": number, "step": step, "prompt": prompt, "path": path, "address": sample_address(view.id, number)}
            for number, (step, prompt, path) in enumerate(view.samples, view.samples_dropped) if number >= since]})

    async def image(self, request: Request) -> Response:
        """A sample of the current run; with `small` (query) so many pixels high and wide at most."""
        view = self.desk.view()
        number = _whole(request.path_params["number"], "the sample's number") - view.samples_dropped
        small = _whole(request.query_params.get("small", "0"), "small")
        run = request.query_params.get("run", view.id)
        if run != view.id or not 0 <= number < len(view.samples) or not view.samples[number][2].is_file():
            raise Refused(404, "no such sample in this run")
        path = view.samples[number][2]
        if not small:
            return FileResponse(str(path), headers=_KEPT)
        return Response(await run_in_threadpool(_thumbnail, path, min(small, _LARGEST)), media_type="image/jpeg", headers=_KEPT)

    async def file(self, request: Request) -> Response:
        """An image of the current run: nothing else on this machine is handed out."""
        wanted = request.query_params.get("path", "")
        for _, _, path in self.desk.view().samples:
            if str(path) == wanted and path.is_file():
                return FileResponse(str(path), headers=_KEPT)
        raise Refused(404, "no such sample in this run")


def _whole(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise Refused(400, f"{name} must be a whole number, not {text[:40]!r}")
    return int(text)


def _thumbnail(path: Path, side: int) -> bytes:
    made = io.BytesIO()
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((side, side))
    small.save(made, "JPEG", quality=85)
    return made.getvalue()
