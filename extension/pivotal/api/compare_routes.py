"""Comparisons of a run's saves, or of any files of the host's folders."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from pivotal.api.http import Refused, Served, answer, body_of, text_in
from pivotal.api.plain import plain
from pivotal.errors import OptionError, PivotalError
from pivotal.jobs.comparison.comparisons import Comparisons
from pivotal.jobs.signed import sign

_LONGEST_NAME = 300  # characters


class CompareRoutes:
    """One comparison at a time."""

    def __init__(self, comparisons: Comparisons):
        self.comparisons = comparisons

    def all(self) -> Served:
        """Path, method and endpoint of each."""
        return [("/compare", "POST", self.start), ("/compare", "GET", self.show), ("/compare/stop", "POST", self.stop),
                ("/compare/keep", "POST", self.keep)]

    async def start(self, request: Request) -> Response:
        """{"run" or "files", "prompts", "strengths", "seeds", "size", "steps", ...} (jobs/comparison/settings.py): the id."""
        body = await body_of(request)
        flat = {key: ", ".join(map(str, value)) if key in ("strengths", "seeds") and isinstance(value, list) else value
                for key, value in body.items()}
        return answer({"id": await self._unless_busy(lambda: self.comparisons.start(flat))})

    async def show(self, request: Request) -> Response:
        """The comparison as it is now, with an address for each image that is drawn."""
        view = self.comparisons.view()
        addresses = [[path and sign(path, 0) for path in line] for line in view.images]
        return answer({**plain(view), "addresses": addresses})

    async def stop(self, request: Request) -> Response:
        """Ends it after the image that is being drawn."""
        await body_of(request)
        self.comparisons.stop()
        return answer({"state": self.comparisons.view().state})

    async def keep(self, request: Request) -> Response:
        """{"run", "save", "rename"}: puts the run's other saves away."""
        body = await body_of(request)
        run, name = text_in(body, "run", _LONGEST_NAME), text_in(body, "save", _LONGEST_NAME)
        kept = await self._unless_busy(lambda: self.comparisons.keep(run, name, rename=body.get("rename") is not False))
        words = f"{len(kept.moved)} files are put away in {kept.folder}." if kept.moved else "There was nothing to put away."
        return answer({**plain(kept), "files": plain(kept.files), "text": " ".join([words, *kept.notices])})

    async def _unless_busy(self, work: Any) -> Any:
        """What `work` returns; that somebody else has the model is a conflict."""
        try:
            return await run_in_threadpool(work)
        except OptionError:
            raise
        except PivotalError as error:
            raise Refused(409, str(error)) from error
