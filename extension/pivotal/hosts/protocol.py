"""What the trainer asks of a host, and what a host with a page offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from pivotal.models.diffusion import DiffusionModel

T = TypeVar("T")


@dataclass(frozen=True)
class Folders:
    """Absolute, existing folders of the host."""

    embeddings: Path
    loras: Path
    scratch: Path  # ours: runs, states, caches


@dataclass(frozen=True)
class Checkpoint:
    """What the host has in memory now."""

    name: str  # as the host lists it, without extension
    path: Path
    family: str  # "sd1", "sd2" or "sdxl"
    blocks: int = 0  # input blocks of its UNet: 12 in SD 1 and SD 2, 9 in SDXL; 0 when not known
    resolution: int = 0  # px, side of the square it was trained at; 0 when its family's


@dataclass(frozen=True)
class NetworkReader:
    """What the host's own LoRA loader makes of our files; the defaults are those of AUTOMATIC1111, which reads all of them."""

    unread: Mapping[str, str] = field(default_factory=dict)  # network.method -> what becomes of its files, with a remedy if any
    most_bundled: int | None = None  # tensors of bundled embeddings; a file with more of them is refused whole
    bundles_stay: bool = False  # whether a bundled embedding goes on to be used when no prompt names its LoRA any more


@dataclass(frozen=True)
class PromptContext:
    """What counting tokens needs, got without the host's lock."""

    encoders: Mapping[str, Any]  # encoder's name -> its tokenizer
    embeddings: Mapping[str, int]  # name -> number of vectors, of all embeddings the prompt box knows


@runtime_checkable
class Host(Protocol):
    """Nothing outside hosts/ may know which host it is."""

    name: str  # "a1111", for logs and bug reports; never compared with
    reads_bundles: bool  # whether a LoRA's tag brings the embeddings bundled in its file

    @property
    def network_reader(self) -> NetworkReader:
        """Which networks it reads; asked before a run."""

    def checkpoint(self) -> Checkpoint | None:
        """What is loaded now; None when nothing is."""

    def checkpoints(self) -> Sequence[str]:
        """Names that `borrow` takes."""

    def folders(self) -> Folders:
        """Where files go."""

    def run(self, work: Callable[[], T]) -> T:
        """Does `work` in the calling thread while this host lets nobody else use the model: holding its queue lock."""

    def borrow(self, checkpoint: str) -> AbstractContextManager[DiffusionModel]:
        """Lends the loaded model, under `run`. On exit, raised through or not, the host generates exactly what it did
        before: weights, dtypes, devices, requires_grad, training mode, hooks.

        Args:
            checkpoint: the name of one of `checkpoints`; "" is what is loaded.

        Raises:
            HostError: when nothing is loaded, no checkpoint has that name, or its weights cannot be lent.
        """

    def changed(self) -> str | None:
        """What has been done to the lent model since `borrow`, in a sentence with the remedy; None when nothing has.

        Asked before each step, inside of `run`; takes no lock and costs microseconds. A run that hears of a change ends
        before the step, and keeps what it had learned.
        """

    def let_through(self) -> None:
        """Lets everybody who waits for the model have it once, and takes it back: for between two steps, inside of
        `borrow`. Returns at once when nobody waits. What `changed` says is to be asked afterwards."""

    def prompt_context(self) -> PromptContext:
        """Tokenizers and embeddings as the prompt box uses them; never waits."""

    def refresh(self, artifact: Path) -> None:
        """Makes a file just written usable in the next prompt, also when it replaced one of the same name."""

    def stop_requested(self) -> bool:
        """Whether the user pressed the host's own Interrupt since the run began."""


@dataclass(frozen=True)
class Logins:
    """Whom a host lets in, name to password; empty where it asks nobody."""

    page: Mapping[str, str] = field(default_factory=dict)  # --gradio-auth
    api: Mapping[str, str] = field(default_factory=dict)  # --api-auth


class Shell(Protocol):
    """A host with a page. Headless has none."""

    def logins(self) -> Logins:
        """Whom its flags let in; asked when routes are attached."""

    def add_tab(self, title: str, identifier: str, build: Callable[[], None]) -> None:
        """`build` is called inside a gradio Blocks when the page is made."""

    def add_routes(self, attach: Callable[[Any], None]) -> None:
        """`attach` is called with the FastAPI app when there is one."""
