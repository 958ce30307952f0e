"""Where a run's files lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pivotal.hosts.protocol import Folders
from pivotal.prompts.placeholders import safe_file_name


@dataclass(frozen=True)
class RunPaths:
    """The folder of one run under the host's scratch folder, and what is in it."""

    folder: Path

    @property
    def state(self) -> Path:
        return self.folder / "state.safetensors"

    @property
    def samples(self) -> Path:
        return self.folder / "samples"

    @property
    def replaced(self) -> Path:
        """Older files of the user that a result took the place of."""
        return self.folder / "replaced"

    @property
    def run_file(self) -> Path:
        return self.folder / "run.yaml"

    @property
    def journal(self) -> Path:
        return self.folder / "events.jsonl"


def run_paths(folders: Folders, name: str) -> RunPaths:
    """The paths of the run called `name`."""
    return RunPaths(folders.scratch / "runs" / safe_file_name(name))


def embedding_path(folder: Path, placeholder: str, step: int | None = None) -> Path:
    """An embedding's file in `folder`: its stem is the word of prompts; a copy on the way has the step behind it."""
    return folder / f"{safe_file_name(placeholder)}{_behind(step)}.safetensors"


def network_path(folders: Folders, name: str, step: int | None = None) -> Path:
    """The network's file of the run called `name`: its stem is the name in a prompt's tag."""
    return folders.loras / f"{safe_file_name(name)}{_behind(step)}.safetensors"


def _behind(step: int | None) -> str:
    return "" if step is None else f"-{step:06d}"
