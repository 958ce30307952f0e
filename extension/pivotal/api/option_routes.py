"""A run before it starts: its options, checked and planned; presets, and what other trainers wrote."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from pivotal.api.http import Refused, Served, answer, body_of, options_in, text_in
from pivotal.api.plain import plain
from pivotal.config.build import draft
from pivotal.config.derived import json_schema
from pivotal.config.files import dump_run
from pivotal.config.imports.read import imported
from pivotal.config.presets import changed_text, list_presets
from pivotal.config.train import TrainConfig
from pivotal.errors import OptionError, PivotalError
from pivotal.jobs.desk import Desk
from pivotal.jobs.glance import glance
from pivotal.jobs.outlook.outlook import Outlook
from pivotal.jobs.schedule_preview import courses
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
        """Path, method and endpoint of each."""
        return [("/options", "GET", self.options), ("/check", "POST", self.check), ("/plan", "POST", self.plan),
                ("/measure", "POST", self.measure), ("/presets", "GET", self.presets), ("/import", "POST", self.import_settings),
                ("/run_file", "POST", self.run_file), ("/glance", "POST", self.glance),
                ("/schedule", "POST", self.schedule)]

    async def options(self, request: Request) -> Response:
        """The JSON schema of a run."""
        return answer(json_schema(TrainConfig))

    async def check(self, request: Request) -> Response:
        """Every problem by key; {"quick": true} asks the options' rules alone, and looks at no image or file."""
        body = await body_of(request)
        flat = options_in(body)
        if body.get("quick") is True:
            return answer({"problems": draft(TrainConfig, flat)[1]})
        return answer({"problems": await run_in_threadpool(self.desk.check, flat)})

    async def run_file(self, request: Request) -> Response:
        """The options as a run file: only those that differ from their defaults, or {"all": true}."""
        body = await body_of(request)
        flat = options_in(body)
        config, problems = draft(TrainConfig, flat)
        text = dump_run(config) if body.get("all") is True else changed_text(flat)
        return answer({"text": text, "problems": problems})

    async def plan(self, request: Request) -> Response:
        """What a run would see and need: images, sizes, steps, captions, memory, disk. Nothing is loaded or started."""
        flat = options_in(await body_of(request))
        return answer(_told(await run_in_threadpool(self.desk.outlooks.ahead, flat)))

    async def measure(self, request: Request) -> Response:
        """As plan, after a few steps on the host's model, which is as before: seconds a step, time and memory of the run."""
        flat = options_in(await body_of(request))
        try:
            return answer(_told(await run_in_threadpool(self.desk.outlooks.measured, flat)))
        except OptionError:
            raise
        except PivotalError as error:
            raise Refused(409 if self.desk.busy else 400, str(error)) from error

    async def presets(self, request: Request) -> Response:
        """Each preset's name, title, words and options; the user's own are marked."""
        found = await run_in_threadpool(list_presets, presets_folder(self.desk.host.folders()))
        return answer({"presets": list(found.values())})

    async def import_settings(self, request: Request) -> Response:
        """{"text": a file of kohya, OneTrainer or Invoke Training} as options, with what changed and what was left out."""
        body = await body_of(request)
        text, name = text_in(body, "text", _LONGEST_FILE), text_in(body, "name", 200, "the file")
        found: Any = await run_in_threadpool(imported, text, name)
        return answer({"source": found.source, "options": found.flat, "changed": found.changed, "unknown": found.unknown,
                       "quiet": found.quiet, "problems": draft(TrainConfig, found.flat)[1]})

    async def glance(self, request: Request) -> Response:
        """{"folder", "subfolders"}: how many images it holds, and the first ones with their captions."""
        body = await body_of(request)
        folder, subfolders = text_in(body, "folder", 4096), body.get("subfolders") is True
        extension = text_in(body, "extension", 20, ".txt")
        found = await run_in_threadpool(glance, folder, subfolders=subfolders, extension=extension)
        return answer({"count": found.images, "captions": found.captions, "shown": [
            {"name": image.path.name, "caption": image.caption, "address": sign(image.path, 192)} for image in found.shown]})

    async def schedule(self, request: Request) -> Response:
        """The learning rates of a run's parts over its steps, from its options alone."""
        config, problems = draft(TrainConfig, options_in(await body_of(request)))
        unknown = {key: text for key, text in problems.items() if key not in _FOR_OTHERS}
        if unknown:
            raise OptionError(unknown)
        return answer(await run_in_threadpool(courses, config))


def _told(found: Outlook) -> dict[str, Any]:
    spent = found.times
    return {"plan": found.planned, "words": plan_lines(found.planned), "notices": found.notices, "captions": found.captions,
            "memory": {"bytes": found.memory.total, "parts": found.memory.parts, "free": found.free,
                       "known": found.memory.is_known},
            "disk": {"bytes": found.disk.total, "parts": found.disk.parts, "free": found.disk.free},
            "remedies": found.offers, "measured": found.probed,
            "seconds": None if spent is None else {"total": spent.total, **plain(spent)}}
