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


def embedding_path(folders: Folders, placeholder: str, step: int | None = None) -> Path:
    """The embedding's file: its stem is the word of prompts; a copy on the way has the step behind it."""
    stem = safe_file_name(placeholder) + ("" if step is None else f"-{step:06d}")
    return folders.embeddings / f"{stem}.safetensors"
