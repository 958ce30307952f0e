"""``presets`` and ``import``: recipes, ours and those of other trainers, as run files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pivotal.config.build import draft
from pivotal.config.imports.read import imported_together, told_text
from pivotal.config.presets import changed_text, list_presets, preset_called, run_text
from pivotal.config.train import TrainConfig
from pivotal.errors import OptionError
from pivotal.jobs.user_presets import presets_folder_in
from pivotal.tools.results import write


def presets(known: argparse.Namespace) -> int:
    """Lists the presets, or prints one as a run file."""
    found = list_presets(presets_folder_in(known.data_dir))
    if known.name is None:
        width = max(map(len, found))
        sys.stdout.writelines(f"{preset.name:<{width}}  {preset.title}\n" for preset in found.values())
        return 0
    preset = preset_called(known.name, presets_folder_in(known.data_dir))
    sys.stdout.write(f"# {preset.title}\n# {preset.about}\n{changed_text(preset.flat)}")
    return 0


def import_settings(known: argparse.Namespace) -> int:
    """Exit code 0, or 1 when the run file has problems that must be mended before it can be carried out."""
    if known.output and known.output.exists() and not known.replace:
        raise OptionError({"--output": f"{known.output} is there already; give another name, or --replace"})
    found = imported_together([(_text_of(path), str(path)) for path in known.files])
    text = run_text(found.flat, f"From {found.source}: {', '.join(path.name for path in known.files)}")
    if known.output:
        write({known.output: text.encode("utf-8")}, replace=True)
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
