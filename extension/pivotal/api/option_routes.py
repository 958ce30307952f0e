"""A run before it starts: its options, checked and planned; presets, and what other trainers wrote."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool

from pivotal.api.fields import LONGEST_PATH, flag, text
from pivotal.api.http import DRAFT, OPTIONS, Asked, Refused, Route, Served
from pivotal.api.plain import plain
from pivotal.api.shapes import OrNull
from pivotal.config.build import draft
from pivotal.config.derived import json_schema
from pivotal.config.files import dump_run
from pivotal.config.imports.read import imported
from pivotal.config.imports.rules import Told
from pivotal.config.presets import Preset, changed_text, list_presets
from pivotal.config.train import TrainConfig
from pivotal.errors import OptionError, PivotalError
from pivotal.events import Planned
from pivotal.jobs.desk import Desk
from pivotal.jobs.glance import glance
from pivotal.jobs.outlook.captions import ShownCaption
from pivotal.jobs.outlook.outlook import Offer, Outlook
from pivotal.jobs.outlook.probe import Probed
from pivotal.jobs.schedule_preview import Courses, courses
from pivotal.jobs.signed import sign
from pivotal.jobs.user_presets import presets_folder
from pivotal.jobs.watch.plan_words import plan_lines

_FOR_OTHERS = ("dataset.folder", "embeddings")  # problems that decide nothing about learning rates
_LONGEST_FILE = 1_000_000  # characters of an import


class OptionRoutes:
    """Nothing here starts anything."""

    def __init__(self, desk: Desk):
        self.desk = desk

    def all(self) -> Served:
        """What is served here."""
        problems, memory = dict[str, str], {"bytes": int, "parts": dict[str, int], "free": int | None}
        seconds = {"total": float, **dict.fromkeys(("step", "preparing", "training", "sampling", "measuring"), float)}
        outlook = {"plan": Planned, "words": list[str], "notices": problems, "captions": list[ShownCaption],
                   "memory": {**memory, "known": bool}, "disk": memory, "remedies": list[Offer], "measured": Probed | None,
                   "seconds": OrNull(seconds)}
        file = (text("text", "The file's text.", _LONGEST_FILE, required=True),
                text("name", "Its name.", 200, default="the file"))
        seen = (text("folder", "A folder of images.", LONGEST_PATH, required=True), flag("subfolders", "Looks into subfolders."),
                text("extension", "Ending of caption files.", 20, default=".txt"))
        quick = flag("quick", "Asks the options' rules alone, and looks at no image or file.")
        whole_file = flag("all", "Writes every option, not only those that differ from their defaults.")
        return [
            Route("/options", "GET", self.options, {"type": str, "properties": dict[str, dict], "additionalProperties": bool}),
            Route("/check", "POST", self.check, {"problems": problems}, (DRAFT, quick), strict=True),
            Route("/plan", "POST", self.plan, outlook, (OPTIONS,), refuses=(422,), strict=True),
            Route("/measure", "POST", self.measure, outlook, (OPTIONS,), refuses=(409, 422), strict=True),
            Route("/presets", "GET", self.presets, {"presets": list[Preset]}),
            Route("/import", "POST", self.import_settings,
                  {"source": str, "options": dict[str, Any], "changed": list[Told], "unknown": list[Told], "quiet": list[Told],
                   "problems": problems}, file, refuses=(422,), strict=True),
            Route("/run_file", "POST", self.run_file, {"text": str, "problems": problems}, (DRAFT, whole_file),
                  refuses=(422,), strict=True),
            Route("/glance", "POST", self.glance,
                  {"count": int, "captions": int, "shown": [{"name": str, "caption": str | None, "address": str}]}, seen,
                  strict=True),
            Route("/schedule", "POST", self.schedule, Courses, (OPTIONS,), refuses=(422,), strict=True),
        ]

    async def options(self, asked: Asked) -> Any:
        """The JSON schema of a run, by dotted key."""
        return json_schema(TrainConfig)

    async def check(self, asked: Asked) -> Any:
        """Every problem of a run, by the option's key; none where it could start."""
        if asked.body["quick"]:
            return {"problems": draft(TrainConfig, asked.options)[1]}
        return {"problems": await run_in_threadpool(self.desk.check, asked.options)}

    async def run_file(self, asked: Asked) -> Any:
        """The options as a run file, also where some have problems."""
        config, problems = draft(TrainConfig, asked.options)
        text = dump_run(config) if asked.body["all"] else changed_text(asked.options)
        return {"text": text, "problems": problems}

    async def plan(self, asked: Asked) -> Any:
        """What a run would see and need: images, sizes, steps, captions, memory, disk. Nothing is loaded or started."""
        return _told(await run_in_threadpool(self.desk.outlooks.ahead, asked.options))

    async def measure(self, asked: Asked) -> Any:
        """As plan, after a few steps on the host's model, which is as before: seconds a step, time and memory of the run."""
        try:
            return _told(await run_in_threadpool(self.desk.outlooks.measured, asked.options))
        except OptionError:
            raise
        except PivotalError as error:
            raise Refused(409 if self.desk.busy else 400, str(error)) from error

    async def presets(self, asked: Asked) -> Any:
        """Each preset's name, title, words and options; the user's own are marked."""
        found = await run_in_threadpool(list_presets, presets_folder(self.desk.host.folders()))
        return {"presets": list(found.values())}

    async def import_settings(self, asked: Asked) -> Any:
        """A file of another trainer as options, with what changed and what was left out."""
        found: Any = await run_in_threadpool(imported, asked.body["text"], asked.body["name"])
        return {"source": found.source, "options": found.flat, "changed": found.changed, "unknown": found.unknown,
                "quiet": found.quiet, "problems": draft(TrainConfig, found.flat)[1]}

    async def glance(self, asked: Asked) -> Any:
        """How many images a folder holds, and the first ones with their captions."""
        body = asked.body
        found = await run_in_threadpool(glance, body["folder"], subfolders=body["subfolders"], extension=body["extension"])
        return {"count": found.images, "captions": found.captions, "shown": [
            {"name": image.path.name, "caption": image.caption, "address": sign(image.path, 192)} for image in found.shown]}

    async def schedule(self, asked: Asked) -> Any:
        """The learning rates of a run's parts over its steps, from its options alone."""
        config, problems = draft(TrainConfig, asked.options)
        unknown = {key: text for key, text in problems.items() if key not in _FOR_OTHERS}
        if unknown:
            raise OptionError(unknown)
        return await run_in_threadpool(courses, config)


def _told(found: Outlook) -> dict[str, Any]:
    spent = found.times
    return {"plan": found.planned, "words": plan_lines(found.planned), "notices": found.notices, "captions": found.captions,
            "memory": {"bytes": found.memory.total, "parts": found.memory.parts, "free": found.free,
                       "known": found.memory.is_known},
            "disk": {"bytes": found.disk.total, "parts": found.disk.parts, "free": found.disk.free},
            "remedies": found.offers, "measured": found.probed,
            "seconds": None if spent is None else {"total": spent.total, **plain(spent)}}
