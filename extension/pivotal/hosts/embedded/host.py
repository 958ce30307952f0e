"""The embedded host: folders, one checkpoint in memory, a lock, and images."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from pivotal.errors import FormatError, HostError
from pivotal.hosts.embedded.checkpoints import CheckpointFile, Described, describe, list_checkpoints, load
from pivotal.hosts.embedded.fifo import FifoLock
from pivotal.hosts.embedded.library import EmbeddingFolder, Stamp, stamp_of
from pivotal.hosts.embedded.lora import LoraFolder
from pivotal.hosts.embedded.txt2img import Drawn, Txt2Img, checked, draw
from pivotal.hosts.protocol import Checkpoint, Folders, NetworkReader, PromptContext
from pivotal.models.diffusion import DiffusionModel
from pivotal.models.lend import lend
from pivotal.prompts.vocabulary import clip_tokenizer

log = logging.getLogger(__name__)

T = TypeVar("T")
ASSETS = Path(__file__).resolve().parents[3] / "assets"


@dataclass(frozen=True)
class _Loaded:
    """The checkpoint in memory, and the state of its file when it was read."""

    file: CheckpointFile
    stamp: Stamp
    model: DiffusionModel


class EmbeddedHost:
    """Implements hosts.protocol.Host over a data folder.

    Args:
        data_dir: made if missing, with the folders that WebUIs of A1111's kind have.
        checkpoint: a file or diffusers folder to begin with; None takes the first of the data folder, else the toy.
        device: None takes the first CUDA card, else the CPU.

    Raises:
        HostError: the folders cannot be made, or `checkpoint` is not there.
    """

    name = "embedded"
    reads_bundles = True
    network_reader = NetworkReader()

    def __init__(self, data_dir: Path, checkpoint: Path | None = None, device: torch.device | str | None = None,
                 toy: Path = ASSETS / "toy.safetensors"):
        self.data_dir = data_dir.expanduser().resolve()
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._models = self.data_dir / "models" / "Stable-diffusion"
        self._folders = Folders(self.data_dir / "embeddings", self.data_dir / "models" / "Lora", self.data_dir / "pivotal")
        self.outputs = self.data_dir / "outputs" / "txt2img"
        for folder in (self._models, self._folders.embeddings, self._folders.loras, self._folders.scratch, self.outputs):
            _make_folder(folder)
        self._toy, self._given = toy, checkpoint.expanduser().resolve() if checkpoint else None
        if self._given is not None and not self._given.exists():
            raise HostError(f"{checkpoint} is not there. Give a .safetensors checkpoint or a diffusers folder.")
        self._lock = FifoLock()
        self._interrupted = threading.Event()
        self._closing = False
        self._loaded: _Loaded | None = None
        self._described: dict[Path, tuple[Stamp, Described | HostError | FormatError]] = {}
        self._embeddings, self._loras = EmbeddingFolder(self._folders.embeddings), LoraFolder(self._folders.loras)
        self._tokenizer: Any = None
        self._tokenizer_guard = threading.Lock()
        self._chosen = ""

    @property
    def selected(self) -> str:
        """The checkpoint chosen, else the one asked for, else the first of the user's own, else the toy, else ""."""
        if not self._chosen:
            self._chosen = next(iter(self._files()), "")
        return self._chosen

    def _files(self) -> dict[str, CheckpointFile]:
        return list_checkpoints(self._models, self._toy, self._given)

    # What hosts.protocol.Host asks for

    def checkpoint(self) -> Checkpoint | None:
        """The one that is chosen; it is loaded when it is first needed. None when there is none that can be."""
        file = self._files().get(self.selected)
        try:
            if file is None:
                return None
            described = self.described(file.name)
            return Checkpoint(file.name, file.path, described.family.name, described.blocks, described.resolution)
        except (HostError, FormatError) as error:
            log.warning("The chosen checkpoint cannot be used: %s", error)
            return None

    def checkpoints(self) -> Sequence[str]:
        """Names in models/Stable-diffusion, looked up anew."""
        return list(self._files())

    def folders(self) -> Folders:
        return self._folders

    def run(self, work: Callable[[], T]) -> T:
        """Does `work` in this thread when all who came before are done; clears an earlier Interrupt."""
        with self._lock:
            if not self._closing:
                self._interrupted.clear()
            return work()

    @contextmanager
    def borrow(self, checkpoint: str) -> Iterator[DiffusionModel]:
        """Under `run`; afterwards whatever the borrower left on the modules is taken off."""
        if not self._lock.is_mine:
            raise RuntimeError("borrow() is for work that run() does")
        model = self._load(checkpoint or self.selected).model
        self._loras.forget()  # the borrower needs the memory
        with lend([model.unet, model.vae, *(encoder.module for encoder in model.text_encoders)]):
            yield model

    def changed(self) -> str | None:
        """Nothing ever is: no tensor of a lent model is written to, and another checkpoint gets tensors of its own."""
        return None

    def let_through(self) -> None:
        lent = self._loaded
        if self._interrupted.is_set() or not self._lock.step_aside():
            return
        if not self._closing:
            self._interrupted.clear()  # it was for those who were let through
        self._loaded = lent  # they may have loaded what the page has chosen since
        self._loras.forget()

    def prompt_context(self) -> PromptContext:
        """Of the chosen checkpoint; nothing is loaded and no lock is taken for it.

        Raises:
            HostError: no checkpoint can be used.
        """
        try:
            described = self.described()
        except FormatError as error:
            raise HostError(str(error)) from error
        tokenizer = self.tokenizer()
        return PromptContext({rules.name: tokenizer for rules in described.family.encoders},
                             self._embeddings.scan(described.widths).counts())

    def refresh(self, artifact: Path) -> None:
        """Files are looked at anew at each prompt; this is for file systems whose times are too coarse to tell."""
        self._embeddings.forget(artifact)
        self._loras.forget()

    def stop_requested(self) -> bool:
        return self._interrupted.is_set()

    # What its own page asks for besides

    def interrupt(self) -> None:
        """Asks whoever uses the model to stop soon."""
        self._interrupted.set()

    def settle(self, seconds: float) -> bool:
        """At the end of the program: asks all who use the model to stop, and waits so long; whether nobody does any more."""
        self._closing = True
        try:
            self.interrupt()
            return self._lock.wait_until_free(seconds)
        finally:
            self._closing = False

    @property
    def is_busy(self) -> bool:
        """Whether somebody uses the model."""
        return self._lock.is_held

    def select(self, name: str) -> Described:
        """Chooses the checkpoint for what comes next; it is loaded when it is needed.

        Raises:
            HostError, FormatError: it cannot be used; the choice stays as it was.
        """
        described = self.described(name)
        self._chosen = name
        return described

    def described(self, name: str | None = None) -> Described:
        """What a checkpoint is (None: the chosen one), from its header, which is read once.

        Raises:
            HostError, FormatError: there is none of that name, or it cannot be used.
        """
        file = self._file(self.selected if name is None else name)
        stamp = stamp_of(file.path)
        known = self._described.get(file.path)
        if known is None or known[0] != stamp:
            try:
                known = (stamp, describe(file))
            except (HostError, FormatError) as error:
                known = (stamp, error)
            self._described[file.path] = known
        if isinstance(known[1], Exception):
            raise known[1]
        return known[1]

    def generate(self, request: Txt2Img, on_step: Callable[[int, int], None] | None = None) -> Drawn:
        """Waits for the lock and draws.

        Raises:
            HostError, FormatError: a setting is out of range, or the checkpoint cannot be used.
        """
        request = checked(request)
        return self.run(lambda: self._draw(request, on_step))

    def preload(self) -> None:
        """Loads the chosen checkpoint ahead of its first use; what is wrong with it is said there."""
        if not self.selected:
            return
        try:
            self.run(lambda: self._load(self.selected))
        except (HostError, FormatError) as error:
            log.warning("%s", error)

    def tokenizer(self) -> Any:
        """CLIP's, made on first use from open-clip-torch's vocabulary."""
        with self._tokenizer_guard:
            if self._tokenizer is None:
                self._tokenizer = clip_tokenizer(self._folders.scratch / "vocabulary")
            return self._tokenizer

    def _draw(self, request: Txt2Img, on_step: Callable[[int, int], None] | None) -> Drawn:
        loaded = self._load(self.selected)
        embeddings = self._embeddings.scan(loaded.model.widths)
        return draw(loaded.model, loaded.file.name, request, embeddings, self._loras, on_step,
                    self.stop_requested)

    def _file(self, name: str) -> CheckpointFile:
        files = self._files()
        if name in files:
            return files[name]
        if not files:
            raise HostError(f"There is no checkpoint yet. Put a .safetensors checkpoint into {self._models}.")
        raise HostError(f"There is no checkpoint {name!r} any more; choose {', '.join(sorted(files)[:5])}.")

    def _load(self, name: str) -> _Loaded:
        """The named checkpoint, in memory instead of any other; under the lock."""
        file = self._file(name)
        stamp = stamp_of(file.path)
        if self._loaded is None or self._loaded.file != file or self._loaded.stamp != stamp:
            self._loaded = None  # before the next one is read: two may not fit
            self._loras.forget()
            log.info("Loading %s", file.path)
            self._loaded = _Loaded(file, stamp, load(file, self.tokenizer(), self.device))
        return self._loaded


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(f"The folder {folder} cannot be made: {error.strerror or error}.") from error
