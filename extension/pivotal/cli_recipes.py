"""The command line's recipes: ``presets`` lists them, ``import FILE -o run.yaml`` reads another trainer's settings."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pivotal.config.build import draft
from pivotal.config.imports.read import imported_together, told_text
from pivotal.config.presets import changed_text, list_presets, preset_called, run_text
from pivotal.config.train import TrainConfig
from pivotal.errors import OptionError
from pivotal.formats.atomic import write_text
from pivotal.jobs.user_presets import presets_folder_in


def add_recipe_commands(subparsers: Any, data_dir: Path) -> None:
    """Adds ``presets`` and ``import`` to what ``ArgumentParser.add_subparsers()`` returned."""
    text = "Lists the presets, or prints one as a run file."
    presets = subparsers.add_parser("presets", help=text, description=text, allow_abbrev=False)
    presets.add_argument("name", nargs="?", help="Prints this preset.")
    presets.add_argument("--data-dir", type=Path, default=data_dir, help="Holds your own presets.")
    presets.set_defaults(command=_presets)
    text = ("Reads settings of kohya (.json, .toml), OneTrainer (.json), Invoke Training (.yaml) or AUTOMATIC1111 "
            "(settings-....json) as a run file.")
    read = subparsers.add_parser("import", help=text, description=text, allow_abbrev=False)
    read.add_argument("files", type=Path, nargs="+", metavar="FILE", help="Settings, and a dataset's file where it is apart.")
    read.add_argument("-o", "--output", type=Path, metavar="RUN.yaml", help="Writes the run file here. Without: to stdout.")
    read.add_argument("--replace", action="store_true", help="Replaces an older file.")
    read.add_argument("--all", action="store_true", help="Also lists what means nothing here.")
    read.set_defaults(command=_import)


def _presets(known: argparse.Namespace, rest: Sequence[str]) -> int:
    _nothing_left(rest, "presets")
    presets = list_presets(presets_folder_in(known.data_dir))
    if known.name is None:
        width = max(map(len, presets))
        sys.stdout.writelines(f"{preset.name:<{width}}  {preset.title}\n" for preset in presets.values())
        return 0
    preset = preset_called(known.name, presets_folder_in(known.data_dir))
    sys.stdout.write(f"# {preset.title}\n# {preset.about}\n{changed_text(preset.flat)}")
    return 0


def _import(known: argparse.Namespace, rest: Sequence[str]) -> int:
    """Exit code 0, or 1 when the run file has problems that must be mended before it can be carried out."""
    _nothing_left(rest, "import")
    if known.output and known.output.exists() and not known.replace:
        raise OptionError({"--output": f"{known.output} is there already; give another name, or --replace"})
    found = imported_together([(_text_of(path), str(path)) for path in known.files])
    text = run_text(found.flat, f"From {found.source}: {', '.join(path.name for path in known.files)}")
    if known.output:
        write_text(known.output, text)
    else:
        sys.stdout.write(text)
    problems = draft(TrainConfig, found.flat)[1]
    for title, lines in (("Changed", map(told_text, found.changed)), ("Not taken over", map(told_text, found.unknown)),
                         ("Without meaning here", map(told_text, found.quiet if known.all else ())),
                         ("To be mended", (f"{key}: {text}" for key, text in problems.items()))):
        sys.stderr.writelines(f"{title}: {line}\n" for line in lines)
    return 1 if problems else 0


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise OptionError({"run file": f"{path} cannot be read: {error.strerror or error}"}) from error
    except UnicodeDecodeError as error:
        raise OptionError({"run file": f"{path} is not UTF-8 text"}) from error


def _nothing_left(rest: Sequence[str], command: str) -> None:
    if rest:
        raise OptionError({rest[0]: f"is no flag of {command}; see install.py {command} --help"})
