"""The user's own presets: the form, kept under a name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pivotal.config.build import problems_of
from pivotal.config.presets import preset_text
from pivotal.config.train import TrainConfig
from pivotal.errors import OptionError
from pivotal.formats.atomic import write_text
from pivotal.hosts.protocol import Folders
from pivotal.prompts.placeholders import safe_file_name

_FOLDER = "presets"


def presets_folder(folders: Folders) -> Path:
    """Where the user's presets lie; it need not exist."""
    return folders.scratch / _FOLDER


def presets_folder_in(data_dir: Path) -> Path:
    """As `presets_folder`, of the embedded host."""
    return data_dir / "pivotal" / _FOLDER


def save_preset(folders: Folders, name: str, form: Mapping[str, Any], *, replace: bool = False) -> Path:
    """Writes the form as a preset, without the user's folders and words; returns its path.

    Raises:
        OptionError: values of the form are bad, the name is empty, or a preset of this name is there and `replace` is not on.
    """
    problems = problems_of(TrainConfig, form)[1]
    if not name.strip():
        problems["preset name"] = "needs a name, which becomes the preset's file"
    path = presets_folder(folders) / f"{safe_file_name(name.strip())}.yaml"
    if name.strip() and path.exists() and not replace:
        problems["preset name"] = f"there is a preset {path.stem!r} of yours; choose another name, or switch Replace on"
    if problems:
        raise OptionError(problems)
    write_text(path, preset_text(name, form))
    return path
