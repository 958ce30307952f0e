"""``train``: a run file to a finished run, on one device or on several."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tqdm import tqdm

from pivotal.config.files import beside, read_run_file
from pivotal.config.presets import laid_under, preset_called
from pivotal.events import Event, Failed, Finished, Saved, StepDone, as_json
from pivotal.hosts.embedded.host import EmbeddedHost
from pivotal.hosts.protocol import Host
from pivotal.jobs.checks.plan import Plan, make_plan
from pivotal.jobs.control import Control
from pivotal.jobs.desk import work_through
from pivotal.jobs.launched import launched_device, launched_ranks, shared
from pivotal.jobs.outlook.outlook import look_ahead
from pivotal.jobs.outlook.probe import probe
from pivotal.jobs.outlook.words import disk_line, memory_lines, time_lines
from pivotal.jobs.user_presets import presets_folder_in
from pivotal.jobs.watch.plan_words import plan_lines
from pivotal.jobs.watch.view import JobView, fold, words
from pivotal.training.ranks import Ranks


def train(known: argparse.Namespace, given: Mapping[str, Any]) -> int:
    """Carries out a run file; returns the exit code.

    Args:
        given: options over those of the file, by key.
    """
    flat = {**beside(known.run_file, read_run_file(known.run_file)), **given}
    for name in reversed(known.preset):  # the last one given is the nearest under the run file
        flat = laid_under(preset_called(name, presets_folder_in(known.data_dir)).flat, flat)
    host = EmbeddedHost(known.data_dir, device=launched_device())
    with launched_ranks() as ranks:
        plan = make_plan(flat, host, resume=known.resume)
        if known.plan:
            return _tell_plan(plan, host, known) if ranks.index == 0 else 0
        with shared(plan, host, ranks) as (share, place):
            return _carry_out(share, place, ranks, known)


def _carry_out(plan: Plan, host: Host, ranks: Ranks, known: argparse.Namespace) -> int:
    """The run of this process; only the first one of several tells of it."""
    watcher = _Watcher(plan.config.length.steps, plan.config.name, shown=ranks.index == 0)
    control = Control(stop_after_steps=known.stop_after_steps, patient=False)
    for asked in (signal.SIGINT, signal.SIGTERM):  # a launcher ends the others so when one process has failed
        signal.signal(asked, lambda *_: _interrupt(control))
    started = time.monotonic()
    outcome = work_through(plan, host, watcher, control, ranks)
    watcher.bar.close()
    if known.json and ranks.index == 0:
        print(json.dumps(_summary(watcher.view, outcome, time.monotonic() - started)))
    if outcome is None:
        return 2 if watcher.view.problems else 1
    return 0 if outcome.files else 1


def _tell_plan(plan: Plan, host: Host, known: argparse.Namespace) -> int:
    found = look_ahead(plan, host, probe(plan, host) if known.measure else None)
    if known.json:
        seconds = None if found.times is None else {"total": found.times.total} | asdict(found.times)
        print(json.dumps(as_json(found.planned) | {
            "notices": dict(found.notices), "memory": found.memory.total, "disk": found.disk.total,
            "measured": None if found.probed is None else asdict(found.probed), "seconds": seconds}))
    else:
        print("\n".join([*plan_lines(found.planned), *time_lines(found), *memory_lines(found), disk_line(found.disk),
                         *found.notices.values()]))
    return 0


def _interrupt(control: Control) -> None:
    """The first Ctrl-C keeps what is learned, the second ends at once."""
    if control.stop.is_set():
        raise KeyboardInterrupt
    print("Stopping after this step; once more to leave at once.", file=sys.stderr)
    control.stop.set()


def _summary(view: JobView, outcome: Any, seconds: float) -> dict[str, Any]:
    return {"name": view.name, "state": view.state, "files": [str(path) for path in view.files], "steps": view.step,
            "seconds": round(seconds, 3), "loss": view.loss, "smooth_loss": view.smooth_loss,
            "losses": [list(point) for point in view.curve], "metrics": outcome.metrics if outcome else {},
            "message": view.message, "problems": dict(view.problems)}


class _Watcher:
    """Shows a run's events on the terminal and folds them for the summary."""

    def __init__(self, steps: int, name: str, *, shown: bool = True):
        self.view = JobView(name=name, of=steps, state="running")
        self.shown = shown
        self.bar = tqdm(total=steps, unit="step", file=sys.stderr, dynamic_ncols=True, disable=not shown)

    def __call__(self, event: Event) -> None:
        self.view = fold(self.view, event)
        if isinstance(event, StepDone):
            self.bar.update(event.step - self.bar.n)
            self.bar.set_postfix(loss=f"{event.smooth_loss:.4f}")
        elif words(event) and (isinstance(event, Failed) or self.shown and not _is_state(event)):
            self.bar.write(words(event), file=sys.stderr)
        if isinstance(event, (Failed, Finished)):
            self.bar.refresh()


def _is_state(event: Event) -> bool:
    return isinstance(event, Saved) and event.kind == "state"
