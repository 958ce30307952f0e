"""Which trainer a file is of, by what is in it, and its settings as ours."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pivotal.config.build import flat_from_nested, options_of
from pivotal.config.files import parse_yaml
from pivotal.config.imports.a1111 import is_a1111, read_a1111
from pivotal.config.imports.invoke import is_invoke, read_invoke
from pivotal.config.imports.kohya import is_kohya, read_kohya
from pivotal.config.imports.kohya_data import is_dataset, read_dataset
from pivotal.config.imports.mended import mended
from pivotal.config.imports.onetrainer import is_onetrainer, read_concepts, read_onetrainer
from pivotal.config.imports.rules import Imported, Told
from pivotal.config.train import TrainConfig
from pivotal.errors import OptionError

_TOML = ("tomllib", "tomli", "toml", "tomlkit")  # tomllib is Python's own from 3.11 on
_KNOWN = ("kohya's .json or .toml, OneTrainer's .json, Invoke Training's .yaml, AUTOMATIC1111's settings-....json")


def import_text(text: str, where: str) -> Imported | None:
    """The settings of a file of another trainer; None when it is of none that is known, as a run file of ours.

    Raises:
        OptionError: under the key ``run file``, when it can be read as none of JSON, TOML and YAML.
    """
    found = _read(_parsed(text, where))
    return None if found is None else mended(found)


def _read(settings: Any) -> Imported | None:
    if isinstance(settings, list):
        is_concepts = settings and all(isinstance(one, Mapping) and "path" in one and "balancing" in one for one in settings)
        return read_concepts(settings) if is_concepts else None
    if not isinstance(settings, Mapping):
        return None
    settings = {str(name): value for name, value in settings.items()}
    if _is_ours(settings):
        return None
    if is_a1111(settings):
        return read_a1111(settings)
    if is_invoke(settings):
        return read_invoke(settings)
    if is_onetrainer(settings):
        return read_onetrainer(settings)
    if is_dataset(settings):
        return read_dataset(settings)
    return read_kohya(settings) if is_kohya(settings) else None


def _is_ours(settings: Mapping[str, Any]) -> bool:
    """Whether most of it is options of ours: names such as seed are everybody's."""
    flat = flat_from_nested(settings)
    known = options_of(TrainConfig, flat)
    return sum(key in known for key in flat) * 2 > len(flat)


def imported(text: str, where: str) -> Imported:
    """As `import_text`.

    Raises:
        OptionError: also when it is of no trainer that is known.
    """
    return imported_together([(text, where)])


def imported_together(files: Iterable[tuple[str, str]]) -> Imported:
    """Several files of one run, as settings and dataset; what a later one says wins.

    Args:
        files: text and name of each.

    Raises:
        OptionError: as `imported`.
    """
    whole = []
    for text, where in files:
        found = _read(_parsed(text, where))
        if found is None:
            raise OptionError({"run file": f"{where} is of no trainer that is known here: expected {_KNOWN}"})
        whole.append(found)
    return mended(_joined(whole))


def _joined(whole: Sequence[Imported]) -> Imported:
    flat: dict[str, Any] = {}
    for one in whole:
        flat |= one.flat
    return Imported(" and ".join(dict.fromkeys(one.source for one in whole)), flat, *(
        tuple(told for one in whole for told in getattr(one, name)) for name in ("changed", "unknown", "quiet")))


def told_text(told: Told) -> str:
    """One line: the setting, its value, and what is said of it."""
    value = " ".join(str(told.value).split())
    return f"{told.key} = {value if len(value) <= 80 else value[:77] + '...'}: {told.text}"


def _parsed(text: str, where: str) -> Any:
    stripped = text.lstrip("\ufeff \t\r\n")
    if stripped.startswith(("{", "[\n", "[\r\n", "[{")):
        try:
            return json.loads(stripped)
        except (ValueError, RecursionError) as error:
            if where.lower().endswith(".json"):
                raise OptionError({"run file": f"{where} is not JSON: {error}"}) from error
    if where.lower().endswith(".toml") or _looks_like_toml(stripped):
        return _toml(text.lstrip("\ufeff"), where)
    return parse_yaml(text, where)


def _looks_like_toml(text: str) -> bool:
    """Whether the first line that says something is a heading or name = value."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    if not lines:
        return False
    name, equals, _ = lines[0].partition("=")
    is_heading = bool(re.fullmatch(r"\[{1,2}[\w.\-]+\]{1,2}", lines[0])) and not lines[0].strip("[]").isdigit()
    return is_heading or bool(equals and name.strip().replace("_", "").isalnum())


def _toml(text: str, where: str) -> Any:
    for name in _TOML:
        if importlib.util.find_spec(name) is None:
            continue
        reader = importlib.import_module(name)
        try:
            return reader.loads(text)
        except (ValueError, RecursionError) as error:  # what each of them raises is a ValueError
            raise OptionError({"run file": f"{where} is not TOML: {error}"}) from error
    raise OptionError({"run file": "reading .toml files needs Python 3.11, or: pip install tomli"})
