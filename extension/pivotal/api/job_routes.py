"""The run that goes on: started, steered and watched."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response

from pivotal.api.fields import LONGEST_PATH, flag, text, whole
from pivotal.api.http import OPTIONS, Asked, Refused, Route, Served
from pivotal.errors import OptionError, PivotalError
from pivotal.jobs.desk import Desk
from pivotal.jobs.watch.view import BUSY, JobView, State, sample_address

_KEPT = {"Cache-Control": "private, max-age=3600"}  # of one run; another has another address
_LARGEST = 1024  # px of a small image


class JobRoutes:
    """One job at a time."""

    def __init__(self, desk: Desk):
        self.desk = desk

    def all(self) -> Served:
        """What is served here."""
        state, since = {"state": State}, whole("since", "The first number that is wanted, less one.", default=0)
        event = {"number": int, "at": str, "event": str}
        sample = {"number": int, "step": int, "prompt": str, "path": Path, "address": str}
        number = whole("number", "The sample's number.")
        small = whole("small", "px, the longer side of a small image; 0 is the image itself.", default=0)
        asks = [Route(f"/job/{endpoint.__name__}", "POST", endpoint, state, refuses=(409,))
                for endpoint in (self.pause, self.resume, self.sample, self.save)]
        resume = flag("resume", "Goes on with the run of that name.")
        keep = flag("keep", "Writes what is learned; false deletes what the run wrote.", default=True)
        return [Route("/jobs", "POST", self.start, {"id": str}, (OPTIONS, resume), refuses=(409, 422), strict=True),
                Route("/job/stop", "POST", self.stop, state, (keep,)), *asks,
                Route("/job", "GET", self.job, JobView),
                Route("/job/events", "GET", self.events,
                      {"run": str, "events": [event], "next": int, "more": bool, "missing": int}, query=(since,)),
                Route("/job/samples", "GET", self.samples, {"run": str, "samples": [sample]},
                      query=(whole("since", "The first number that is wanted.", default=0),)),
                Route("/job/samples/{number}", "GET", self.image, bytes, media="image/*", refuses=(404,), in_path=(number,),
                      query=(small, text("run", "The run's id; another run's samples are not handed out."))),
                Route("/file", "GET", self.file, bytes, media="image/*", refuses=(404,),
                      query=(text("path", "A sample's file, as GET /job has it.", LONGEST_PATH),))]

    async def start(self, asked: Asked) -> Any:
        """Starts a run and answers its id; another may not be going on."""
        try:
            return {"id": await run_in_threadpool(
                lambda: self.desk.queue.begin(asked.options, resume=asked.body["resume"]))}
        except OptionError:
            raise
        except PivotalError as error:
            raise Refused(409 if self.desk.view().state in BUSY else 400, str(error)) from error

    async def stop(self, asked: Asked) -> Any:
        """Stops the run after the step that goes on."""
        self.desk.stop(keep=asked.body["keep"])
        return {"state": self.desk.view().state}

    async def pause(self, asked: Asked) -> Any:
        """Gives the model back to the host after the step that goes on; the run waits."""
        return self._asked(self.desk.pause)

    async def resume(self, asked: Asked) -> Any:
        """Lets a paused run go on."""
        return self._asked(self.desk.resume_paused)

    async def sample(self, asked: Asked) -> Any:
        """Draws the samples after the step that goes on."""
        return self._asked(self.desk.sample_now)

    async def save(self, asked: Asked) -> Any:
        """Writes a copy and the state after the step that goes on."""
        return self._asked(self.desk.save_now)

    def _asked(self, ask: Callable[[], None]) -> Any:
        try:
            ask()
        except PivotalError as error:
            raise Refused(409, str(error)) from error
        return {"state": self.desk.view().state}

    async def job(self, asked: Asked) -> Any:
        """The run as it is now, or as the last one ended."""
        return self.desk.view()

    async def events(self, asked: Asked) -> Any:
        """What has happened in the run behind an event's number; `next` is what to ask for then."""
        return self.desk.events(asked.query["since"])

    async def samples(self, asked: Asked) -> Any:
        """The run's samples from a number on, each with its address."""
        view = self.desk.view()
        return {"run": view.id, "samples": [
            {"number": number, "step": step, "prompt": prompt, "path": path, "address": sample_address(view.id, number)}
            for number, (step, prompt, path) in enumerate(view.samples, view.samples_dropped)
            if number >= asked.query["since"]]}

    async def image(self, asked: Asked) -> Response:
        """A sample of the current run, large or small."""
        view, small = self.desk.view(), asked.query["small"]
        number = asked.path["number"] - view.samples_dropped
        run = asked.query["run"] or view.id
        if run != view.id or not 0 <= number < len(view.samples) or not view.samples[number][2].is_file():
            raise Refused(404, "no such sample in this run")
        path = view.samples[number][2]
        if not small:
            return FileResponse(str(path), headers=_KEPT)
        return Response(await run_in_threadpool(_thumbnail, path, min(small, _LARGEST)), media_type="image/jpeg", headers=_KEPT)

    async def file(self, asked: Asked) -> Response:
        """A sample of the current run by its file. Nothing else on this machine is handed out."""
        for _, _, path in self.desk.view().samples:
            if str(path) == asked.query["path"] and path.is_file():
                return FileResponse(str(path), headers=_KEPT)
        raise Refused(404, "no such sample in this run")


def _thumbnail(path: Path, side: int) -> bytes:
    made = io.BytesIO()
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((side, side))
    small.save(made, "JPEG", quality=85)
    return made.getvalue()
