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
    def ledger(self) -> Path:
        """Which files the run has written."""
        return self.folder / "written.json"

    @property
    def run_file(self) -> Path:
        return self.folder / "run.yaml"

    @property
    def steps(self) -> Path:
        """Each step's numbers."""
        return self.folder / "steps.csv"

    @property
    def losses(self) -> Path:
        """Each image's loss over the run."""
        return self.folder / "loss_by_image.csv"

    @property
    def tensorboard(self) -> Path:
        return self.folder / "tensorboard"

    @property
    def journal(self) -> Path:
        return self.folder / "events.jsonl"


def run_paths(folders: Folders, name: str) -> RunPaths:
    """The paths of the run called `name`."""
    return RunPaths(folders.scratch / "runs" / safe_file_name(name))


Mark = int | str | None
"""What stands behind a file's name: a step, or a word such as best; nothing for the result."""


def embedding_path(folder: Path, placeholder: str, mark: Mark = None) -> Path:
    """An embedding's file in `folder`: its stem is the word of prompts; a copy has its mark behind it."""
    return folder / f"{safe_file_name(placeholder)}{_behind(mark)}.safetensors"


def network_path(folders: Folders, name: str, mark: Mark = None) -> Path:
    """The network's file of the run called `name`: its stem is the name in a prompt's tag."""
    return folders.loras / f"{safe_file_name(name)}{_behind(mark)}.safetensors"


def _behind(mark: Mark) -> str:
    return "" if mark is None else f"-{mark:06d}" if isinstance(mark, int) else f"-{mark}"
