"""The checkpoints of a folder: which there are, what each is, and one of them in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pivotal.errors import FormatError, HostError
from pivotal.hosts.embedded import diffusers_folder
from pivotal.hosts.embedded.diffusers_folder import Described
from pivotal.models.build import build_model
from pivotal.models.diffusion import DiffusionModel
from pivotal.models.families import Family
from pivotal.models.ldm_layout import ENCODERS, UNET, VAE, Facts, detect_family, known_facts

TOY = "toy"
REMARKS = ("v_pred", "ztsnr", "global_step")  # tensors that only say something of the others
TOKEN_TABLES = ("text_model.embeddings.token_embedding.weight", "embeddings.token_embedding.weight",
                "token_embedding.weight")


@dataclass(frozen=True)
class CheckpointFile:
    """One checkpoint that can be chosen."""

    name: str  # path in the folder, without extension
    path: Path  # a .safetensors file or a diffusers folder


def list_checkpoints(folder: Path, toy: Path, given: Path | None) -> dict[str, CheckpointFile]:
    """Every checkpoint by name: the one that was asked for, those of `folder`, and the toy where it exists.

    A name that exists twice is the first one's.
    """
    found: dict[str, CheckpointFile] = {}
    for path in [given] if given else []:
        found[path.stem if path.is_file() else path.name] = CheckpointFile(path.stem if path.is_file() else path.name, path)
    for path in sorted(folder.rglob("*")):
        is_file = path.suffix.lower() in (".safetensors", ".ckpt") and path.is_file()
        if is_file and not any((parent / "model_index.json").is_file() for parent in path.parents if parent != folder):
            name = path.relative_to(folder).with_suffix("").as_posix()
        elif path.name == "model_index.json" and path.parent != folder:
            path, name = path.parent, path.parent.relative_to(folder).as_posix()
        else:
            continue
        found.setdefault(name, CheckpointFile(name, path))
    if toy.is_file():
        found.setdefault(TOY, CheckpointFile(TOY, toy))
    return found


def describe(file: CheckpointFile) -> Described:
    """What a checkpoint is, from its header.

    Raises:
        FormatError: it is none, is damaged, or is of a family we do not know.
        HostError: it is not there.
    """
    if file.path.is_dir():
        return diffusers_folder.describe(file.path)
    with _opened(file.path) as opened:
        names = list(opened.keys())
        family = detect_family(names)
        facts = _facts(file.path, opened, family)
        widths = []
        for prefix in ENCODERS[family.name]:
            table = next((prefix + name for name in TOKEN_TABLES if prefix + name in names), None)
            if table is None:
                raise FormatError("its text encoder has no token table; the file is incomplete")
            widths.append(opened.get_slice(table).get_shape()[1])
        blocks = len({name.split(".")[3] for name in names if name.startswith(f"{UNET}input_blocks.")})
    return Described(family, tuple(widths), facts.resolution or family.resolution, blocks)


def load(file: CheckpointFile, tokenizer: Any, device: torch.device) -> DiffusionModel:
    """The checkpoint on `device`; a file is mapped, not read, where its tensors can be used as they are.

    Raises: as `describe`.
    """
    if file.path.is_dir():
        return diffusers_folder.load(file.path, tokenizer, device)
    with _opened(file.path) as opened:
        family = detect_family(opened.keys())
        facts = _facts(file.path, opened, family)
        prefixes = (UNET, VAE, *ENCODERS[family.name])
        tensors = {name: _placed(name, opened.get_tensor(name), device) for name in opened.keys()
                   if name.startswith(prefixes)}
        return build_model(tensors, tokenizer=tokenizer, facts=facts)


def _placed(name: str, tensor: Tensor, device: torch.device) -> Tensor:
    """fp32 on a CPU, which is slow at or lacks half precision; and for the VAE, for SDXL's overflows in fp16."""
    if not tensor.is_floating_point():
        return tensor.to(device)
    if device.type == "cpu" or name.startswith(VAE):
        return tensor.to(device, torch.float32)
    is_small = tensor.dtype in (torch.float32, torch.float16, torch.bfloat16)
    return tensor.to(device, tensor.dtype if is_small else torch.float16)  # fp8 is for storing only


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file's header read; every error says which file it was."""
    if not path.is_file():
        raise HostError(f"{path} is not there. Put a checkpoint into its place, or choose another.")
    if path.suffix.lower() != ".safetensors":
        raise FormatError(f"{path}: a {path.suffix or 'file like this'} can run code when it is read; "
                          "convert it to .safetensors first.")
    try:
        with safe_open(str(path), framework="pt", device="cpu") as opened:
            yield opened
    except SafetensorError as error:
        raise FormatError(f"{path} is cut off, damaged, or no safetensors file ({error}). Download it again.") from error
    except FormatError as error:
        raise FormatError(f"{path.name}: {error}") from error
    except OSError as error:
        raise HostError(f"{path} cannot be read: {error.strerror or error}.") from error


def _facts(path: Path, opened: Any, family: Family) -> Facts:
    remarks = {name: opened.get_tensor(name) for name in opened.keys() if name in REMARKS}
    return known_facts(family, remarks, opened.metadata(), read_yaml(path.with_suffix(".yaml")))


def read_yaml(path: Path) -> Mapping[str, Any]:
    """The configuration beside a checkpoint, empty where there is none."""
    if not path.is_file():
        return {}
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise FormatError(f"the yaml beside it cannot be read: {str(error).splitlines()[0]}") from error
    return content if isinstance(content, Mapping) else {}
