"""What a checkpoint is that a host has chosen and not loaded yet, as far as its file tells without being run."""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from pivotal.errors import FormatError, HostError
from pivotal.hosts.embedded.checkpoints import CheckpointFile, describe
from pivotal.hosts.protocol import Checkpoint
from pivotal.models.ldm_layout import UNET, detect_family

UNKNOWN = "unknown"
PICKLE = "data.pkl"  # in the zip file that torch.save writes
LARGEST = 64 * 2**20  # bytes of that: a checkpoint's has less than one million


def unloaded(name: str, path: Path) -> Checkpoint:
    """With the family "unknown" where the file does not tell, or is none of ours; loading it will."""
    try:
        if path.suffix.lower() == ".ckpt":
            about = path.stat()
            return Checkpoint(name, path, *_of_pickle(path, about.st_mtime_ns, about.st_size))
        described = describe(CheckpointFile(name, path))
    except (FormatError, HostError, OSError):
        return Checkpoint(name, path, UNKNOWN)
    return Checkpoint(name, path, described.family.name, described.blocks)


@lru_cache(maxsize=16)
def _of_pickle(path: Path, _changed: int, _size: int) -> tuple[str, int]:
    """Family and number of input blocks, by the names of its tensors.

    Args:
        _changed, _size: of the file, so that a replaced one is read again.

    Raises:
        FormatError, OSError: it cannot be read, or is none of ours.
    """
    names = list(_texts(path))
    return detect_family(names).name, len({name.split(".")[3] for name in names if name.startswith(f"{UNET}input_blocks.")})


def _texts(path: Path) -> Iterator[str]:
    """Every text in a file of torch.save, tensors' names among them; the pickle is looked through, and never run."""
    try:
        with zipfile.ZipFile(path) as opened:
            inner = next((one for one in opened.infolist() if one.filename.rpartition("/")[2] == PICKLE), None)
            if inner is None or inner.file_size > LARGEST:
                raise FormatError(f"{path.name} has no {PICKLE} of a checkpoint in it")
            content = opened.read(inner)
        yield from (argument for _, argument, _ in pickletools.genops(content) if isinstance(argument, str))
    except (zipfile.BadZipFile, ValueError) as error:  # what torch before 1.6 wrote is no zip file
        raise FormatError(f"{path.name} is damaged, or of an old kind: {error}") from error
