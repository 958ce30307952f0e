"""The run that goes on: started, steered and watched."""

from __future__ import annotations

from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from pivotal.api.http import Refused, Served, answer, body_of, options_in
from pivotal.errors import OptionError, PivotalError
from pivotal.jobs.desk import Desk


class JobRoutes:
    """One job at a time."""

    def __init__(self, desk: Desk):
        self.desk = desk

    def all(self) -> Served:
        """Path, method and endpoint of each."""
        return [("/jobs", "POST", self.start), ("/job/stop", "POST", self.stop), ("/job/sample", "POST", self.sample),
                ("/job/save", "POST", self.save), ("/job", "GET", self.job), ("/file", "GET", self.file)]

    async def start(self, request: Request) -> Response:
        """{"options", "resume": true to go on with the run of that name}: the run's id."""
        body = await body_of(request)
        flat, resume = options_in(body), body.get("resume") is True
        try:
            return answer({"id": await run_in_threadpool(lambda: self.desk.start(flat, resume=resume))})
        except OptionError:
            raise
        except PivotalError as error:
            running = self.desk.view().state in ("running", "stopping")
            raise Refused(409 if running else 400, str(error)) from error

    async def stop(self, request: Request) -> Response:
        """Stops after the step that goes on, and keeps what is learned."""
        await body_of(request)
        self.desk.stop()
        return answer({"state": self.desk.view().state})

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

    async def file(self, request: Request) -> Response:
        """An image of the current run: nothing else on this machine is handed out."""
        wanted = request.query_params.get("path", "")
        for _, _, path in self.desk.view().samples:
            if str(path) == wanted and path.is_file():
                return FileResponse(str(path), headers={"Cache-Control": "private, max-age=3600"})
        raise Refused(404, "no such sample in this run")
