"""``strings``: the pages' texts, for translators."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from pivotal.tools.results import write
from pivotal.ui.strings import strings


def write_strings(known: argparse.Namespace) -> int:
    """Returns the exit code."""
    found = _by_letter(strings()) if known.sdnext else {one: one for one in strings()}
    text = json.dumps(found, indent=4) + "\n"  # escaped: a console need not know the signs
    if known.output is None:
        sys.stdout.write(text)
    else:
        write({known.output: text.encode("utf-8")}, replace=True)
    return 0


def _by_letter(texts: Sequence[str]) -> dict[str, list[dict[str, str]]]:
    """SD.Next's form: a list for each first letter, and one for all else."""
    found: dict[str, list[dict[str, str]]] = {}
    for text in sorted(texts, key=str.lower):
        letter = text[0].lower() if text[0].isascii() and text[0].isalpha() else "0"
        found.setdefault(letter, []).append({"id": "", "label": text, "localized": "", "hint": "", "ui": "pivotal"})
    return found
