"""What each tool is told, declared once: flags, fields and checks come from here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pivotal.config.options import option

_FILE = {"widget": "folder"}


def _source(text: str) -> str:
    return option("", text, label="File", **_FILE)


def _target(text: str = "File to write; .safetensors is added.") -> str:
    return option("", text, label="Result", **_FILE)


def _replace() -> bool:
    return option(False, "Writes over an existing file; otherwise it is an error.", label="Replace")


def _precision() -> Literal["fp16", "bf16", "fp32"]:
    return option("fp16", "Precision of the result.")


def _checkpoint() -> str:
    return option("", "Checkpoint that the network was trained on; needed for DoRA, IA3, GLoRA, OFT and BOFT.", **_FILE)


def _device() -> Literal["cpu", "cuda"]:
    return option("cpu", "Where the decompositions are computed.")


@dataclass(frozen=True)
class Resize:
    """A LoRA of another rank that does nearly the same."""

    source: str = _source("Network to resize: a LoRA, LoCon, LoHa, LoKr, whole difference, or any with its checkpoint.")
    target: str = _target()
    rank: int = option(8, "Rank of every layer; with another method the largest.", ge=1, le=4096)
    method: Literal["fixed", "sv_ratio", "sv_fro", "sv_cumulative"] = option(
        "fixed", "How the rank of each layer is chosen: the same for all, or by its singular values.",
        source="sd-scripts, networks/resize_lora.py")
    amount: float | None = option(
        None, "For sv_ratio how many times a kept singular value goes into the largest (more than 1); for sv_fro and "
        "sv_cumulative the part that is kept (0 to 1).", above=0, shown_when=("method", ("sv_ratio", "sv_fro", "sv_cumulative")))
    conv_rank: int | None = option(None, "Rank of convolutions with a kernel of 3 x 3. Empty takes the rank.", ge=1, le=4096)
    checkpoint: str = _checkpoint()
    precision: Literal["fp16", "bf16", "fp32"] = _precision()
    device: Literal["cpu", "cuda"] = _device()
    replace: bool = _replace()

    def problems(self) -> dict[str, str]:
        if self.method == "fixed":
            return {"amount": "has a meaning only with another method than fixed"} if self.amount is not None else {}
        if self.amount is None:
            return {"amount": f"needs a number for {self.method}"}
        if self.method == "sv_ratio" and self.amount <= 1:
            return {"amount": f"expected more than 1 for sv_ratio, got {self.amount:g}"}
        if self.method != "sv_ratio" and self.amount > 1:
            return {"amount": f"expected at most 1 for {self.method}, got {self.amount:g}"}
        return {}


@dataclass(frozen=True)
class Merge:
    """One network that does what several do together."""

    sources: tuple[str, ...] = option((), "Networks, one a line, each with its weight: name.safetensors=0.7.",
                                      label="Files", widget="textarea")
    target: str = _target()
    how: Literal["concatenate", "svd"] = option(
        "concatenate", "concatenate is exact, and its rank the sum of all; svd is the nearest of a smaller rank.")
    rank: int = option(32, "Rank of the result.", ge=1, le=4096, shown_when=("how", ("svd",)))
    conv_rank: int | None = option(None, "Rank of convolutions with a kernel of 3 x 3. Empty takes the rank.", ge=1, le=4096,
                                   shown_when=("how", ("svd",)))
    checkpoint: str = _checkpoint()
    precision: Literal["fp16", "bf16", "fp32"] = _precision()
    device: Literal["cpu", "cuda"] = _device()
    replace: bool = _replace()


@dataclass(frozen=True)
class Extract:
    """A LoRA out of what two checkpoints differ in."""

    base: str = option("", "Checkpoint that the other one was made from.", label="Base checkpoint", **_FILE)
    tuned: str = option("", "Checkpoint whose difference is wanted.", label="Tuned checkpoint", **_FILE)
    target: str = _target()
    rank: int = option(32, "Rank of linear layers and of 1 x 1 convolutions.", ge=1, le=4096)
    conv_rank: int = option(0, "Rank of convolutions with a larger kernel; 0 leaves them out.", ge=0, le=4096)
    min_difference: float = option(
        1e-6, "Layers with no weight that differs by more are left out.", ge=0, label="Least difference")
    text_encoders: bool = option(True, "Extracts the text encoders, too.")
    precision: Literal["fp16", "bf16", "fp32"] = _precision()
    device: Literal["cpu", "cuda"] = _device()
    replace: bool = _replace()


@dataclass(frozen=True)
class ConvertKeys:
    """A network under other names of its layers."""

    source: str = _source("Network of kohya, AUTOMATIC1111, OneTrainer, diffusers or PEFT.")
    target: str = _target()
    style: Literal["kohya", "kohya-diffusers", "diffusers"] = option(
        "kohya", "kohya is what WebUIs read; kohya-diffusers names SDXL's blocks as diffusers does; diffusers has lora_A and "
        "lora_B, and no embeddings.", label="Names")
    replace: bool = _replace()


@dataclass(frozen=True)
class ConvertEmbedding:
    """An embedding in another trainer's format."""

    source: str = _source("Embedding in any format, a folder of diffusers, a picture, or a LoRA that bundles it.")
    target: str = option("", "File to write; its ending is the format's. Its name is the word in a prompt.", label="Result",
                         **_FILE)
    style: Literal["safetensors", "kohya", "kohya-pt", "a1111-pt", "a1111-png", "onetrainer", "invoke", "diffusers",
                   "diffusers-bin"] = option("safetensors", "Format to write; every host reads safetensors.", label="Format")
    name: str = option("", "Which of the embeddings that are bundled in a LoRA. Empty takes the only one.", label="Word")
    replace: bool = _replace()


@dataclass(frozen=True)
class SplitBundle:
    """The embeddings of a network, each as a file of its own."""

    source: str = _source("Network with bundled embeddings.")
    folder: str = option("", "Folder to write to. Empty writes beside the network, into NAME_embeddings.", **_FILE)
    style: Literal["safetensors", "kohya", "kohya-pt", "a1111-pt", "a1111-png", "onetrainer", "invoke", "diffusers",
                   "diffusers-bin"] = option("safetensors", "Format to write; every host reads safetensors.", label="Format")
    replace: bool = _replace()


@dataclass(frozen=True)
class AddToBundle:
    """A network with more embeddings in it."""

    source: str = _source("Network that is to carry them.")
    embeddings: tuple[str, ...] = option((), "Embedding files, one a line; the file's name is the word, or write word=file.",
                                         widget="textarea")
    target: str = _target()
    replace: bool = _replace()


@dataclass(frozen=True)
class RemoveFromBundle:
    """A network without some of its embeddings."""

    source: str = _source("Network with bundled embeddings.")
    words: tuple[str, ...] = option((), "Words to take out, one a line. Empty takes out all.", widget="textarea")
    target: str = _target()
    replace: bool = _replace()


@dataclass(frozen=True)
class RenameInBundle:
    """A network whose embedding has another word."""

    source: str = _source("Network with bundled embeddings.")
    word: str = option("", "The word as it is.")
    new_word: str = option("", "The word as it shall be.")
    target: str = _target()
    replace: bool = _replace()


@dataclass(frozen=True)
class CleanCache:
    """Runs with a cache on disk keep encoded images and captions for later runs; what is deleted they make again."""

    folder: str = option("", "Where they are: a run tells it as it begins. It is called cache, or cache/latents.", label="Folder",
                         widget="folder")
    older_than: int | None = option(None, "Deletes what no run used for so many days. Empty: no matter when.", ge=0, le=10_000,
                                    unit="days")
    keep_gb: float | None = option(None, "Deletes what was not used longest, until so much is left. Empty: no limit.", ge=0,
                                   unit="GB", label="Keep at most")

    def problems(self) -> dict[str, str]:
        if self.older_than is None and self.keep_gb is None:
            return {"older_than": "needs a number of days, or say how much may stay"}
        return {}
