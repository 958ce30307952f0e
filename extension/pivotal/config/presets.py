"""Presets: run files that say how to train, never what; read, laid under a run, and told as a list of changes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from pivotal.config.build import coerce, options_of
from pivotal.config.files import nested_from_flat, read_run_file
from pivotal.config.options import everything, tables
from pivotal.config.train import TrainConfig
from pivotal.errors import OptionError

SHIPPED = Path(__file__).resolve().parents[1] / "presets"
# What a user types about his own images and words. A preset never replaces it; files and folders belong here, too.
_YOURS = {
    "name",
    "checkpoint",
    "caption.trigger_word",
    "caption.prefix",
    "caption.suffix",
    "caption.tags_to_keep",
    "caption.tags_to_drop",
    "samples.prompts",
    "samples.negative",
    "embeddings.N.placeholder",
    "embeddings.N.initial_text",
}
_YOUR_TABLES = ("concepts",)  # rows that are images of his own, each by its folder
_NO_ROWS = ([], (), None)


@dataclass(frozen=True)
class Preset:
    """One recipe: a run file whose first comment line is its title; the comment lines after it say for whom."""

    name: str  # the file's stem
    title: str
    about: str
    flat: Mapping[str, Any]  # only what differs from the defaults
    own: bool = False  # made by the user
    whole: bool = True  # off: it is about one thing, such as memory, and leaves all else as it is


def yours() -> frozenset[str]:
    """Keys of what is the user's, as ``dataset.folder`` or ``embeddings.N.placeholder``."""
    return frozenset(_YOURS | {option.key for option in everything(TrainConfig) if option.spec.widget == "folder"})


def read_preset(path: Path, own: bool = False) -> Preset:
    """The preset in a file.

    Raises:
        OptionError: under the key ``run file``, when it cannot be read.
    """
    flat = read_run_file(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    said = []
    for line in lines:
        if not line.startswith("#"):
            break
        said.append(line.lstrip("# ").rstrip())
    title, about = (said[0].rstrip("."), " ".join(said[1:])) if said else (path.stem, "")
    return Preset(path.stem, title, about, flat, own)


def list_presets(own_folder: Path | None = None) -> dict[str, Preset]:
    """All presets by name: those that ship with Pivotal, then the user's; a user's own of the same name wins."""
    found = {path.stem: read_preset(path) for path in sorted(SHIPPED.glob("*.yaml"))}
    found |= {path.stem: replace(read_preset(path), whole=False) for path in sorted(SHIPPED.glob("cards/*.yaml"))}
    found |= {path.stem: read_preset(path) for path in sorted(SHIPPED.glob("others/*.yaml"))}
    for path in sorted(own_folder.glob("*.yaml")) if own_folder and own_folder.is_dir() else ():
        try:
            found[path.stem] = read_preset(path, own=True)
        except OptionError as error:
            found[path.stem] = Preset(path.stem, path.stem, f"Cannot be read: {error}", {}, own=True)
    return found


def preset_called(name: str, own_folder: Path | None = None) -> Preset:
    """Raises:
    OptionError: under the key ``preset``, when there is none of that name.
    """
    presets = list_presets(own_folder)
    if name not in presets:
        raise OptionError({"preset": f"there is none called {name!r}; known are {', '.join(presets)}"})
    return presets[name]


def laid_under(preset: Mapping[str, Any], flat: Mapping[str, Any]) -> dict[str, Any]:
    """`flat` over `preset`: what `flat` names wins; the preset's first row of a table goes under every row of `flat`."""
    made = dict(preset)
    for table in tables(TrainConfig):
        rows = _rows(flat, table.key)
        if not rows and table.key not in flat:
            continue
        first = _rows(preset, table.key).get(0, {})
        made = {key: value for key, value in made.items() if key != table.key and not key.startswith(f"{table.key}.")}
        made |= {f"{table.key}.{index}.{name}": value for index in rows for name, value in first.items()}
    return made | dict(flat)


def filled_in(chosen: Preset, form: Mapping[str, Any]) -> dict[str, Any]:
    """The form with the preset in it: everything goes to the preset's value or the default, but what is the user's.

    A row of the form keeps its words and gets the preset's numbers. A preset that says ``embeddings: []`` has none. One
    that is not whole changes what it names, and nothing else.
    """
    preset = chosen.flat
    if not chosen.whole:
        return {**form, **preset}
    mine, kept = yours(), {}
    options = options_of(TrainConfig, form)
    gone = {table.key for table in tables(TrainConfig) if table.key in preset and preset[table.key] in _NO_ROWS}
    for key, value in form.items():
        general = _general(key)
        table = key.partition(".")[0]
        if table not in gone and (general in mine and _is_set(options.get(key), value) or _is_left_alone(table, preset)):
            kept[key] = value
    return laid_under(preset, kept)


def _is_set(option: Any, value: Any) -> bool:
    return option is not None and value not in (None, "") and value != option.default


def _is_left_alone(table: str, preset: Mapping[str, Any]) -> bool:
    """Whether `table` is one whose rows the preset says nothing of, so that they stay whole."""
    named = {table.key for table in tables(TrainConfig)}
    return table in named and not any(key == table or key.startswith(f"{table}.") for key in preset)


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(key, old, new) for every option whose value differs; what a side does not name is at its default there."""
    sides = [_values(flat) for flat in (before, after)]
    keys = dict.fromkeys([*sides[1], *sides[0]])
    return [(key, sides[0].get(key), sides[1].get(key)) for key in keys if sides[0].get(key) != sides[1].get(key)]


def _values(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Every option's value; raw where it is bad."""
    found = {}
    for key, option in options_of(TrainConfig, flat).items():
        raw = flat.get(key, option.default)
        try:
            found[key] = coerce(option, raw)
        except ValueError:
            found[key] = raw
    return found


def preset_text(title: str, form: Mapping[str, Any]) -> str:
    """The form as a preset's file: what differs from the defaults, without what is the user's, and one row at most."""
    mine = yours()
    told = {key: value for key, value in form.items() if _general(key) not in mine
            and (_general(key) == key or (".0." in key and not key.startswith(_YOUR_TABLES)))}
    return run_text(told, title)


def run_text(flat: Mapping[str, Any], title: str) -> str:
    """Values as a run file under a comment line: only what differs from the defaults."""
    return f"# {' '.join(title.split())}\n{changed_text(flat)}"


def changed_text(flat: Mapping[str, Any]) -> str:
    """What of `flat` differs from the defaults, as YAML; empty tables that are said to be empty, too."""
    defaults = {key: option.default for key, option in options_of(TrainConfig, flat).items()}
    told = {key: value for key, value in _values(flat).items() if value != defaults[key]}
    told |= {key: flat[key] for key in flat if key not in defaults}  # unknown to us, or a table without rows
    nested = nested_from_flat(told)
    return yaml.safe_dump(nested, sort_keys=False, allow_unicode=True) if nested else ""


def _general(key: str) -> str:
    return re.sub(r"\.[0-9]+\.", ".N.", key)


def _rows(flat: Mapping[str, Any], table: str) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for key, value in flat.items():
        match = re.match(re.escape(table) + r"\.(\d+)\.(.+)", key)
        if match:
            found.setdefault(int(match[1]), {})[match[2]] = value
    return found
