"""The command line: its commands and their flags, known without what carries them out (commands/), which takes seconds to
import."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pivotal import __version__
from pivotal.cli_compare import add_compare_command
from pivotal.cli_queue import add_queue_commands
from pivotal.cli_recipes import add_recipe_commands
from pivotal.cli_strings import add_strings_command
from pivotal.cli_tools import add_tool_commands
from pivotal.config.derived import add_flags, docs_table, flags_to_flat, refuse_flags
from pivotal.config.train import TrainConfig
from pivotal.errors import OptionError, PivotalError

ROOT = Path(__file__).resolve().parents[2]


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
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="install.py", description=sys.modules["pivotal"].__doc__)
    parser.add_argument("--version", action="version", version=f"Pivotal {__version__}")
    commands = parser.add_subparsers(required=True)
    table = commands.add_parser("options", help="Prints the README's table of all options.")
    table.set_defaults(command=_options)
    add_compare_command(add_tool_commands(commands), ROOT / "data")
    add_recipe_commands(commands, ROOT / "data")
    add_queue_commands(commands, ROOT / "data")
    add_strings_command(commands)
    _add_webui(_command(commands, "webui", _webui, "Serves the page."))
    _add_train(_command(commands, "train", _train, "Carries out a run file."))
    return parser


def _command(commands: Any, name: str, command: Any, text: str) -> argparse.ArgumentParser:
    sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    sub.add_argument("--data-dir", type=Path, default=ROOT / "data", help="Holds models, embeddings and outputs.")
    sub.set_defaults(command=command)
    return sub


def _add_webui(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--checkpoint", type=Path, help="A .safetensors checkpoint to begin with.")
    sub.add_argument("--port", type=int, default=7860)
    sub.add_argument("--listen", action="store_true", help="Answers other machines, too.")
    for flag, what in (("--gradio-auth", "the page"), ("--api-auth", "the API")):
        sub.add_argument(flag, metavar="NAME:PASSWORD", type=_logins,
                         help=f"Lets only them use {what}; several with commas between.")
    sub.add_argument("--no-browser", action="store_true", help="Opens no browser.")


def _add_train(sub: argparse.ArgumentParser) -> None:
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


def _logins(text: str) -> str:
    """`text`, unless it would let in anybody: what is no name and password would be left out without a word."""
    for part in text.split(","):
        name, _, password = part.strip().partition(":")
        if not (name and password):
            raise argparse.ArgumentTypeError("needs a name, a colon and a password; several with commas between")
    return text


def _options(_known: argparse.Namespace, _rest: Sequence[str]) -> int:
    print(docs_table(TrainConfig))
    return 0


def _webui(known: argparse.Namespace, rest: Sequence[str]) -> int:
    refuse_flags(rest, "webui")
    from pivotal.commands.webui import webui

    return webui(known)


def _train(known: argparse.Namespace, rest: Sequence[str]) -> int:
    given = _overrides(known, rest)
    from pivotal.commands.train import train

    return train(known, given)


def _overrides(known: argparse.Namespace, rest: Sequence[str]) -> dict[str, Any]:
    """Options given as flags; argparse knows all but those of table rows (``--embeddings.0.placeholder``)."""
    given = {key: value for key, value in vars(known).items() if "." in key or key in ("name", "seed", "checkpoint")}
    row_flags, left = flags_to_flat(rest)
    if left:
        raise OptionError({left[0]: "is not understood here; options are written --some.option value"})
    return {key: value for key, value in given.items() if value is not None} | row_flags
