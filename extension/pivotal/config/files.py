"""Run files: YAML in and out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pivotal.config.build import flat_from_nested, options_of
from pivotal.config.options import flatten
from pivotal.config.train import TrainConfig
from pivotal.errors import OptionError

_MOST_VALUES = 100_000  # in a file


def read_run_file(path: Path) -> dict[str, Any]:
    """The options that a run file sets, by dotted key, still unchecked.

    Raises:
        OptionError: under the key ``run file``, when it is missing, is not YAML or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise OptionError({"run file": f"{path} cannot be read: {error.strerror or error}"}) from error
    except UnicodeDecodeError as error:
        raise OptionError({"run file": f"{path} is not UTF-8 text: byte {error.start} is {error.object[error.start]:#x}"
                           }) from error
    return parse_run(text, str(path))


def beside(run_file: Path, flat: dict[str, Any]) -> dict[str, Any]:
    """A run file's relative paths that are not in the current folder but beside the file are meant there."""
    options = options_of(TrainConfig, flat)
    paths = {key: run_file.parent / str(value) for key, value in flat.items()
             if value and key in options and options[key].spec.widget == "folder"}
    return flat | {key: str(path) for key, path in paths.items() if not Path(str(flat[key])).exists() and path.exists()}


def parse_run(text: str, where: str) -> dict[str, Any]:
    """As `read_run_file`, from the text itself; `where` is named in errors."""
    nested = parse_yaml(text, where)
    if nested is None:
        return {}
    if not isinstance(nested, Mapping):
        raise OptionError({"run file": f"{where} holds {type(nested).__name__}; expected lines such as `name: my run`"})
    return flat_from_nested({str(key): value for key, value in nested.items()})


def parse_yaml(text: str, where: str) -> Any:
    """The values in `text`; `where` is named in errors.

    Raises:
        OptionError: under the key ``run file``, when it is not YAML, or one of those few lines that stand for billions of values.
    """
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date of month 13 is a ValueError
        raise OptionError({"run file": f"{where} is not YAML: {_where_and_what(error)}"}) from error
    if _is_huge(found):
        raise OptionError({"run file": f"{where} holds more than {_MOST_VALUES} values, or values in values without end"})
    return found


def _where_and_what(error: Exception) -> str:
    """A parser's error in one line; its own message quotes the file and names its stream."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark and problem else " ".join(str(error).split())


def _is_huge(value: Any) -> bool:
    """Whether it has more values than any file of ours; what *aliases repeat counts each time."""
    left, waiting = _MOST_VALUES, [value]
    while waiting and left:
        left -= 1
        one = waiting.pop()
        if isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, (list, tuple, set)):
            waiting += one
    return bool(waiting)


def nested_from_flat(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{"embeddings.0.placeholder": x} as {"embeddings": [{"placeholder": x}]}."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *path, leaf = key.split(".")
        node = tree
        for name in path:
            node = node.setdefault(name, {})
        node[leaf] = list(value) if isinstance(value, tuple) else value
    return _with_lists(tree)


def _with_lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if node and all(name.isdigit() for name in node):
        return [_with_lists(node[name]) for name in sorted(node, key=int)]
    return {name: _with_lists(value) for name, value in node.items()}


def dump_run(config: Any) -> str:
    """`config` as a run file that reads back as the same config."""
    return yaml.safe_dump(nested_from_flat(flatten(config)), sort_keys=False, allow_unicode=True)
