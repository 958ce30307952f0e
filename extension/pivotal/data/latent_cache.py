"""Encoded images kept between uses: in memory, or as files that later runs find again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Protocol

from pivotal.data.augment import Change
from pivotal.data.encoding import Encoded
from pivotal.data.versions import Key
from pivotal.data.view import Fit
from pivotal.errors import DatasetError
from pivotal.formats.atomic import remove_leftovers
from pivotal.formats.kept_files import get_kept, mark_used, put_kept

FORMAT = 1  # of the files; another number makes all of them anew


class Shelf(Protocol):
    """Where encoded images are kept."""

    is_lasting: bool  # whether other runs find it again

    def has(self, key: Key) -> bool: ...

    def get(self, key: Key) -> Encoded | None:
        """What was put there; None when it is missing or damaged, which costs the encoding anew."""

    def put(self, key: Key, encoded: Encoded) -> None: ...


class Nowhere:
    """Keeps nothing."""

    is_lasting = False

    def has(self, key: Key) -> bool:
        return False

    def get(self, key: Key) -> Encoded | None:
        return None

    def put(self, key: Key, encoded: Encoded) -> None:
        pass


class Memory:
    """Keeps everything in memory."""

    is_lasting = False

    def __init__(self) -> None:
        self._kept: dict[Key, Encoded] = {}

    def has(self, key: Key) -> bool:
        return key in self._kept

    def get(self, key: Key) -> Encoded | None:
        return self._kept.get(key)

    def put(self, key: Key, encoded: Encoded) -> None:
        self._kept[key] = encoded


class Disk:
    """One file for each key, named by all that it depends on: an edit of any of it makes another name.

    It deletes nothing but files that turn out damaged; formats.kept_files.clean makes room.

    Args:
        name: key -> `content_name` of what it stands for; each is asked for once, and holds for the whole run.
    """

    is_lasting = True

    def __init__(self, folder: Path, name: Callable[[Key], str]):
        self.folder, self._name = folder, name
        self._names: dict[Key, str] = {}
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)

    def path(self, key: Key) -> Path:
        if key not in self._names:
            self._names[key] = self._name(key)
        return self.folder / f"{self._names[key]}.safetensors"

    def has(self, key: Key) -> bool:
        path = self.path(key)
        mark_used(path)
        return path.is_file()

    def get(self, key: Key) -> Encoded | None:
        path = self.path(key)
        tensors = get_kept(path)
        if tensors is None or "mean" not in tensors:
            path.unlink(missing_ok=True)
            return None
        return Encoded(tensors["mean"], tensors.get("deviation"), tensors.get("inpainting"), tensors.get("mask"))

    def put(self, key: Key, encoded: Encoded) -> None:
        tensors = {name: tensor for name, tensor in vars(encoded).items() if tensor is not None}
        try:
            put_kept(self.path(key), tensors)
        except OSError as error:
            raise DatasetError(f"{self.folder} cannot take the latents ({error.strerror or error}); make room, or keep them "
                               "in memory.") from error

    def files(self) -> set[Path]:
        """All files that were asked for."""
        return set(map(self.path, self._names))

    def size(self) -> int:
        """Bytes of these."""
        return sum(path.stat().st_size for path in self.files() if path.is_file())


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, hex.

    Raises:
        DatasetError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}.") from error
    return digest.hexdigest()


def content_name(image: str, mask: str, fit: Fit, change: Change, encoder: str) -> str:
    """The name of a kept file: a hash of all that its content depends on.

    Args:
        image: `file_hash` of the image.
        mask: likewise, or what else says where its mask comes from.
        encoder: its `encoding.fingerprint`, and what else it is told.
    """
    parts = [FORMAT, encoder, image, mask, astuple(fit), astuple(change)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()
