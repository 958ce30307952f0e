"""The command that writes the pages' texts, for translators."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pivotal.config.derived import refuse_flags


def add_strings_command(subparsers: Any) -> None:
    """``strings``: a template for the host's localization folder."""
    text = ("Writes every text of the pages as a localization file: put the translations behind the colons, and all into the "
            "file of your language in the WebUI's folder localizations/.")
    sub = subparsers.add_parser("strings", help=text, description=text, allow_abbrev=False)
    sub.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="File to write. Default: stdout.")
    sub.add_argument("--sdnext", action="store_true", help="Writes entries as SD.Next's files ui/locale/locale_*.json have them.")
    sub.set_defaults(command=_strings)


def _strings(known: argparse.Namespace, rest: Sequence[str]) -> int:
    refuse_flags(rest, "strings")
    from pivotal.commands.strings import write_strings

    return write_strings(known)
