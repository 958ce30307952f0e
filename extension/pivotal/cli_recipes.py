"""The command line's recipes: ``presets`` lists them, ``import FILE -o run.yaml`` reads another trainer's settings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pivotal.config.derived import refuse_flags


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
    refuse_flags(rest, "presets")
    from pivotal.commands.recipes import presets

    return presets(known)


def _import(known: argparse.Namespace, rest: Sequence[str]) -> int:
    refuse_flags(rest, "import")
    from pivotal.commands.recipes import import_settings

    return import_settings(known)
