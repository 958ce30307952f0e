"""The same recipe over many folders: what changes with the folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pivotal.config.build import typed_path
from pivotal.errors import OptionError
from pivotal.prompts.placeholders import find_placeholders

NAME, PATH = "{folder}", "{path}"  # what patterns hold: the folder's name, and where it is
MOST = 1000


def subfolders(folder: str) -> list[Path]:
    """The folders in `folder`, in the order of their names as people read them: 2 before 10.

    Raises:
        OptionError: under ``folder``.
    """
    place = folder_typed("folder", folder)
    try:
        found = [path for path in place.iterdir() if path.is_dir() and not path.name.startswith(".")] if folder.strip() else []
    except OSError as error:
        raise OptionError({"folder": f"{place} cannot be read: {error.strerror or error}"}) from error
    if not found:
        raise OptionError({"folder": f"{place if folder.strip() else 'nothing'} holds no folders; give the folder whose "
                                     "subfolders are the datasets"})
    return sorted(found, key=lambda path: [int(part) if part.isdigit() else part.casefold()
                                           for part in re.split(r"(\d+)", path.name)])


def folder_typed(key: str, text: str) -> Path:
    """Raises OptionError under `key` for what can be no path."""
    try:
        return typed_path(text)
    except ValueError as error:
        raise OptionError({key: str(error)}) from error


def spread(flat: Mapping[str, Any], folders: Sequence[Path], name: str = NAME, placeholder: str = NAME,
           ) -> list[tuple[Path, dict[str, Any]]]:
    """`flat` for each folder: its dataset is the folder, its name and its placeholder are the patterns filled in.

    ``{folder}`` and ``{path}`` are filled in in all other texts, too; where the old placeholder stands in a sample prompt,
    the new one takes its place.

    Args:
        placeholder: a pattern for the placeholder where the run trains one embedding; with several, each needs ``{folder}``
            in its own.

    Raises:
        OptionError: the patterns cannot tell the folders apart, or there are too many.
    """
    problems = {}
    if not 0 < len(folders) <= MOST:
        problems["folders"] = f"expected 1 to {MOST} folders, got {len(folders)}"
    recipe = dict(flat)
    own_name = str(recipe.get("name", ""))
    recipe["name"] = own_name if NAME in own_name else name
    if NAME not in recipe["name"]:
        problems["name"] = f"needs {NAME} in it, or all runs would be {name!r}"
    words = [key for key in recipe if re.fullmatch(r"embeddings\.\d+\.placeholder", key)]
    old = str(recipe[words[0]]) if len(words) == 1 else ""
    if len(words) == 1 and NAME not in old:
        recipe[words[0]] = placeholder
    for key in words:
        if NAME not in str(recipe[key]):
            problems["placeholder" if len(words) == 1 else key] = (
                f"needs {NAME} in it, or all runs would write one file, {recipe[key]!r}")
    if problems:
        raise OptionError(problems)
    recipe["dataset.folder"] = PATH
    return [(folder, _filled(recipe, folder, old)) for folder in folders]


def _filled(recipe: Mapping[str, Any], folder: Path, old: str) -> dict[str, Any]:
    made = {key: _with(value, folder) for key, value in recipe.items()}
    new = next((made[key] for key in made if re.fullmatch(r"embeddings\.\d+\.placeholder", key)), "")
    prompts = made.get("samples.prompts")
    if old and prompts:
        lines = prompts.splitlines() if isinstance(prompts, str) else prompts
        made["samples.prompts"] = [_renamed(str(line), old, str(new)) for line in lines]
    return made


def _with(value: Any, folder: Path) -> Any:
    if isinstance(value, str):
        return re.sub(r"\{(folder|path)\}", lambda found: folder.name if found[1] == "folder" else str(folder), value)
    return [_with(item, folder) for item in value] if isinstance(value, (list, tuple)) else value


def _renamed(text: str, old: str, new: str) -> str:
    for begin, end, _ in reversed(find_placeholders(text, [old])):
        text = text[:begin] + new + text[end:]
    return text
