"""The command that writes the pages' texts, for translators."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pivotal.errors import PivotalError
from pivotal.formats.atomic import write_text
from pivotal.ui.strings import strings


def add_strings_command(subparsers: Any) -> None:
    """``strings``: a template for the host's localization folder."""
    text = ("Writes every text of the pages as a localization file: put the translations behind the colons, and all into the "
            "file of your language in the WebUI's folder localizations/.")
    sub = subparsers.add_parser("strings", help=text, description=text, allow_abbrev=False)
    sub.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="File to write. Default: stdout.")
    sub.add_argument("--sdnext", action="store_true", help="Writes entries as SD.Next's files ui/locale/locale_*.json have them.")
    sub.set_defaults(command=_strings)


def _strings(known: argparse.Namespace, rest: Sequence[str]) -> int:
    if rest:
        raise PivotalError(f"strings takes no {' '.join(rest)!r}.")
    found = _by_letter(strings()) if known.sdnext else {one: one for one in strings()}
    text = json.dumps(found, indent=4) + "\n"  # escaped: a console need not know the signs
    if known.output is None:
        sys.stdout.write(text)
    else:
        write_text(known.output, text)
    return 0


def _by_letter(texts: Sequence[str]) -> dict[str, list[dict[str, str]]]:
    """SD.Next's form: a list for each first letter, and one for all else."""
    found: dict[str, list[dict[str, str]]] = {}
    for text in sorted(texts, key=str.lower):
        letter = text[0].lower() if text[0].isascii() and text[0].isalpha() else "0"
        found.setdefault(letter, []).append({"id": "", "label": text, "localized": "", "hint": "", "ui": "pivotal"})
    return found
