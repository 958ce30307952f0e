"""What resuming a run needs, in one file: tensors and a JSON text in a safetensors header."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
from safetensors import SafetensorError
from torch import Tensor

from pivotal.errors import FormatError
from pivotal.formats.atomic import write_tensors

VERSION = 2  # 1: one optimizer for all (0.1.0)
_KEY = "pivotal.state"


@dataclass(frozen=True)
class State:
    """A run at the end of an optimizer step."""

    facts: dict[str, Any]  # JSON: step, images, seconds, config, ...
    tensors: dict[str, Tensor]


def write_state(path: Path, state: State) -> None:
    """Writes `state`, whole or not at all."""
    text = json.dumps({"version": VERSION} | state.facts, sort_keys=True)
    write_tensors(path, state.tensors, {_KEY: text})


def read_state(path: Path) -> State:
    """The state in `path`.

    Raises:
        FormatError: when it is missing, damaged, or of a later version.
    """
    if not path.is_file():
        raise FormatError(f"{path} is not there; nothing to resume.")
    try:
        with safetensors.safe_open(str(path), framework="pt", device="cpu") as file:
            facts = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
        raise FormatError(f"{path} is not a state of ours, or is damaged: {error}") from error
    if facts.pop("version", None) != VERSION:
        raise FormatError(f"{path} was written by another version of Pivotal; start anew.")
    return State(facts, tensors)
