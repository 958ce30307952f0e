"""Comparisons of a run's saves, or of any files of the host's folders."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from starlette.concurrency import run_in_threadpool

from pivotal.api.fields import Field, declared, flag, text
from pivotal.api.http import Asked, Refused, Route, Served
from pivotal.api.plain import plain
from pivotal.errors import OptionError, PivotalError
from pivotal.jobs.comparison.comparisons import CompareView, Comparisons
from pivotal.jobs.comparison.saves import Save
from pivotal.jobs.comparison.settings import Comparison
from pivotal.jobs.signed import sign

_NUMBERS = ("strengths", "seeds")


class CompareRoutes:
    """One comparison at a time."""

    def __init__(self, comparisons: Comparisons):
        self.comparisons = comparisons

    def all(self) -> Served:
        """What is served here."""
        asked = tuple(_listed(field) if field.name in _NUMBERS else field for field in declared(Comparison))
        kept = (text("run", "The run's name.", required=True), text("save", "The save, as GET /compare names it.", required=True),
                flag("rename", "Gives it the names of the run's result.", default=True))
        put_away = {"save": Save, "name": str, "moved": list[Path], "folder": Path, "notices": list[str], "files": list[Path],
                    "text": str}
        return [Route("/compare", "POST", self.start, {"id": str}, asked, refuses=(409, 422)),
                Route("/compare", "GET", self.show, {**_fields(CompareView), "addresses": list[list[str | None]]}),
                Route("/compare/stop", "POST", self.stop, {"state": _fields(CompareView)["state"]}),
                Route("/compare/keep", "POST", self.keep, put_away, kept, refuses=(409, 422))]

    async def start(self, asked: Asked) -> Any:
        """Draws a run's saves, or any files of the host's folders, by prompts, strengths and seeds; answers its id."""
        flat = {key: ", ".join(map(str, value)) if key in _NUMBERS and isinstance(value, list) else value
                for key, value in asked.sent.items()}
        return {"id": await self._unless_busy(lambda: self.comparisons.start(flat))}

    async def show(self, asked: Asked) -> Any:
        """The comparison as it is now, with an address for each image that is drawn."""
        def look() -> dict[str, Any]:
            view = self.comparisons.view()
            return {**plain(view), "addresses": [[path and sign(path, 0) for path in line] for line in view.images]}

        return await run_in_threadpool(look)

    async def stop(self, asked: Asked) -> Any:
        """Ends it after the image that is being drawn."""
        self.comparisons.stop()
        return {"state": self.comparisons.view().state}

    async def keep(self, asked: Asked) -> Any:
        """Keeps one save of a run and puts its others away, into the run's folder. Nothing is deleted."""
        body = asked.body
        kept = await self._unless_busy(lambda: self.comparisons.keep(body["run"], body["save"], rename=body["rename"]))
        words = f"{len(kept.moved)} files are put away in {kept.folder}." if kept.moved else "There was nothing to put away."
        return {**plain(kept), "files": plain(kept.files), "text": " ".join([words, *kept.notices])}

    async def _unless_busy(self, work: Any) -> Any:
        """What `work` returns; that somebody else has the model is a conflict."""
        try:
            return await run_in_threadpool(work)
        except OptionError:
            raise
        except PivotalError as error:
            raise Refused(409, str(error)) from error


def _listed(field: Field) -> Field:
    """Numbers may also come as a list."""
    return replace(field, schema={"anyOf": [field.schema, {"type": "array", "items": {"type": "number"}}]})


def _fields(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}
