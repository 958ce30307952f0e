"""A run before it starts: its options, checked and planned; presets, and what other trainers wrote."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from pivotal.api.http import Served, answer, body_of, options_in, text_in
from pivotal.config.build import draft
from pivotal.config.derived import json_schema
from pivotal.config.imports.read import imported
from pivotal.config.presets import list_presets
from pivotal.config.train import TrainConfig
from pivotal.errors import OptionError
from pivotal.jobs.desk import Desk
from pivotal.jobs.plan_words import plan_lines
from pivotal.jobs.schedule_preview import courses
from pivotal.jobs.user_presets import presets_folder

_FOR_OTHERS = ("dataset.folder", "embeddings")  # problems that decide nothing about learning rates
_LONGEST_FILE = 1_000_000  # characters of an import


class OptionRoutes:
    """Nothing here starts anything."""

    def __init__(self, desk: Desk):
        self.desk = desk

    def all(self) -> Served:
        """Path, method and endpoint of each."""
        return [("/options", "GET", self.options), ("/check", "POST", self.check), ("/plan", "POST", self.plan),
                ("/presets", "GET", self.presets), ("/import", "POST", self.import_settings),
                ("/schedule", "POST", self.schedule)]

    async def options(self, request: Request) -> Response:
        """The JSON schema of a run."""
        return answer(json_schema(TrainConfig))

    async def check(self, request: Request) -> Response:
        """Every problem by key."""
        flat = options_in(await body_of(request))
        return answer({"problems": await run_in_threadpool(self.desk.check, flat)})

    async def plan(self, request: Request) -> Response:
        """What a run would see: images, sizes, steps and epochs. Nothing is started."""
        flat = options_in(await body_of(request))
        plan, notices = await run_in_threadpool(self.desk.plan, flat)
        return answer({"plan": plan, "words": plan_lines(plan), "notices": notices})

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

    async def schedule(self, request: Request) -> Response:
        """The learning rates of a run's parts over its steps, from its options alone."""
        config, problems = draft(TrainConfig, options_in(await body_of(request)))
        unknown = {key: text for key, text in problems.items() if key not in _FOR_OTHERS}
        if unknown:
            raise OptionError(unknown)
        return answer(await run_in_threadpool(courses, config))
