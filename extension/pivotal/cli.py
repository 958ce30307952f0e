"""The command line: a run file to a finished run, or a page to work on."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pivotal.cli_compare import add_compare_command
from pivotal.cli_queue import add_queue_commands
from pivotal.cli_recipes import add_recipe_commands
from pivotal.cli_strings import add_strings_command
from pivotal.cli_tools import add_tool_commands
from pivotal.config.derived import add_flags, docs_table, flags_to_flat
from pivotal.config.files import beside, read_run_file
from pivotal.config.presets import laid_under, preset_called
from pivotal.config.train import TrainConfig
from pivotal.errors import OptionError, PivotalError
from pivotal.events import Event, Failed, Finished, Saved, StepDone, as_json
from pivotal.hosts.embedded.host import EmbeddedHost
from pivotal.hosts.logins import logins_of
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

ROOT = Path(__file__).resolve().parents[2]
SAVING_SECONDS = 60.0


def main(words_given: Sequence[str] | None = None) -> int:
    """Entry of ``python -m pivotal``; returns the exit code."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s: %(message)s",
                        datefmt="%H:%M:%S")
    for noisy in ("httpx", "matplotlib", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    parser = _parser()
    known, rest = parser.parse_known_args(words_given)
    try:
        return known.command(known, rest)
    except OptionError as error:
        for key, text in error.problems.items():
            print(f"{key}: {text}", file=sys.stderr)
        return 2
    except PivotalError as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="install.py", description=sys.modules["pivotal"].__doc__)
    commands = parser.add_subparsers(required=True)
    table = commands.add_parser("options", help="Prints the README's table of all options.")
    table.set_defaults(command=_options)
    add_compare_command(add_tool_commands(commands), ROOT / "data")
    add_recipe_commands(commands, ROOT / "data")
    add_queue_commands(commands, ROOT / "data")
    add_strings_command(commands)
    for name, command, text in (("webui", _webui, "Serves the page."), ("train", _train, "Carries out a run file.")):
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.add_argument("--data-dir", type=Path, default=ROOT / "data", help="Holds models, embeddings and outputs.")
        sub.set_defaults(command=command)
        if name == "webui":
            sub.add_argument("--checkpoint", type=Path, help="A .safetensors checkpoint to begin with.")
            sub.add_argument("--port", type=int, default=7860)
            sub.add_argument("--listen", action="store_true", help="Answers other machines, too.")
            for flag, what in (("--gradio-auth", "the page"), ("--api-auth", "the API")):
                sub.add_argument(flag, metavar="NAME:PASSWORD", help=f"Lets only them use {what}; several with commas between.")
            sub.add_argument("--no-browser", action="store_true", help="Opens no browser.")
        else:
            sub.add_argument("run_file", type=Path)
            sub.add_argument("--preset", metavar="NAME", action="append", default=[],
                             help="Lays this preset under the run file; may be given twice. install.py presets lists them.")
            sub.add_argument("--plan", action="store_true",
                             help="Only tells what the run would see and need: images, sizes, steps, memory, disk.")
            sub.add_argument("--measure", action="store_true",
                             help="With --plan: does a few steps, too, and tells how long the run will take.")
            sub.add_argument("--json", action="store_true", help="Ends with one JSON object on stdout.")
            sub.add_argument("--stop-after-steps", type=int, metavar="N", help="Stops once N steps are done.")
            sub.add_argument("--resume", action="store_true", help="Goes on where the run of this name was left.")
            add_flags(sub.add_argument_group("options of the run, over those of the file"), TrainConfig)
    return parser


def _options(_known: argparse.Namespace, _rest: Sequence[str]) -> int:
    print(docs_table(TrainConfig))
    return 0


def _webui(known: argparse.Namespace, rest: Sequence[str]) -> int:
    if rest:
        raise PivotalError(f"{rest[0]!r} is not a flag of webui; see install.py webui --help.")
    # Here, as only this command needs gradio, which takes seconds to import.
    from pivotal.hosts.embedded.app import EmbeddedShell, serve
    from pivotal.register import register

    host = EmbeddedHost(known.data_dir, checkpoint=known.checkpoint)
    shell = EmbeddedShell(host, logins_of(known, "gradio_auth", "", "api_auth"))
    desk = register(host, shell)
    # The run's thread would end with the process, and what it learned with it.
    return serve(host, shell, port=known.port, listen=known.listen, open_browser=not known.no_browser,
                 at_end=lambda: desk.queue.close(SAVING_SECONDS))


def _overrides(known: argparse.Namespace, rest: Sequence[str]) -> dict[str, Any]:
    """Options given as flags; argparse knows all but those of table rows (``--embeddings.0.placeholder``)."""
    given = {key: value for key, value in vars(known).items() if "." in key or key in ("name", "seed", "checkpoint")}
    row_flags, left = flags_to_flat(rest)
    if left:
        raise OptionError({left[0]: "is not understood here; options are written --some.option value"})
    return {key: value for key, value in given.items() if value is not None} | row_flags


def _train(known: argparse.Namespace, rest: Sequence[str]) -> int:
    flat = beside(known.run_file, read_run_file(known.run_file)) | _overrides(known, rest)
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
