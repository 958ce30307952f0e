"""A host over a tiny checkpoint in memory: as real as the trainer can tell, with nothing of a WebUI."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image

from pivotal.formats.embedding_file import read_embedding
from pivotal.hosts.protocol import Checkpoint, Folders, NetworkReader, PromptContext
from pivotal.models.build import build_model
from pivotal.models.diffusion import DiffusionModel
from pivotal.models.layers import input_blocks
from pivotal.models.lend import lend
from pivotal.prompts.vocabulary import clip_tokenizer
from tiny import tiny_tensors

T = TypeVar("T")


@lru_cache(maxsize=1)
def tokenizer():
    return clip_tokenizer(Path(tempfile.gettempdir()) / "pivotal-tests" / "vocabulary")


class FakeHost:
    """Implements hosts.protocol.Host; `refreshed` and `inside` show what was asked of it."""

    name = "fake"
    network_reader = NetworkReader()

    def __init__(self, data: Path, family: str = "sd1", *, reads_bundles: bool = True, inputs: int = 4,
                 dtype: torch.dtype = torch.float32):
        self.reads_bundles = reads_bundles
        self._folders = Folders(data / "embeddings", data / "models" / "Lora", data / "pivotal")
        for folder in (self._folders.embeddings, self._folders.loras, self._folders.scratch):
            folder.mkdir(parents=True, exist_ok=True)
        self.family = family
        self.lock = threading.Lock()
        self.refreshed: list[Path] = []
        self.interrupted = False
        self.inside = False
        self.change: Callable[[int], str | None] | None = None  # what `changed` says before step n
        self._asked = self.let = 0
        self.while_let: Callable[[], None] | None = None
        self.model: DiffusionModel = build_model(tiny_tensors(family, dtype=dtype, inputs=inputs), tokenizer=tokenizer(),
                                                 resolution=64)

    def checkpoint(self) -> Checkpoint | None:
        return Checkpoint("tiny", Path("tiny.safetensors"), self.family, input_blocks(self.model), 64)

    def checkpoints(self) -> Sequence[str]:
        return ["tiny"]

    def folders(self) -> Folders:
        return self._folders

    def run(self, work: Callable[[], T]) -> T:
        with self.lock:
            self.inside = True
            try:
                return work()
            finally:
                self.inside = False

    @contextmanager
    def borrow(self, checkpoint: str) -> Iterator[DiffusionModel]:
        assert self.inside, "borrowed without the host's lock"
        model = self.model
        with lend([model.unet, model.vae, *(encoder.module for encoder in model.text_encoders)]):
            yield model

    def prompt_context(self) -> PromptContext:
        encoders = 2 if self.family == "sdxl" else 1
        embeddings = {path.stem: len(read_embedding(path, encoders)[0])
                      for path in self._folders.embeddings.glob("*.safetensors")}
        return PromptContext({"clip_l": tokenizer()}, embeddings)

    def refresh(self, artifact: Path) -> None:
        self.refreshed.append(artifact)

    def changed(self) -> str | None:
        return self.change(self.steps_asked()) if self.change else None

    def steps_asked(self) -> int:
        self._asked += 1
        return self._asked - 1

    def let_through(self) -> None:
        """Answers whoever waits: here, notes what an outsider would be drawn with the lent model."""
        self.let += 1
        if self.while_let:
            self.while_let()

    def stop_requested(self) -> bool:
        return self.interrupted


def write_dataset(folder: Path, count: int = 6, word: str = "zkteal", colour: tuple[int, int, int] = (20, 140, 140)) -> Path:
    """`count` plain pictures of one colour, slightly different, each with a caption that has `word`."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        shade = tuple(min(255, part + 5 * index) for part in colour)
        Image.new("RGB", (64 + 8 * index, 64), shade).save(folder / f"{index:02d}.png")
        (folder / f"{index:02d}.txt").write_text(f"a {word} circle number {index}", encoding="utf-8")
    return folder
