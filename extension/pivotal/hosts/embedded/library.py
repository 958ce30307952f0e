"""The embeddings and LoRAs in the host's folders, looked at anew at each prompt, read only when they changed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pivotal.errors import FormatError
from pivotal.formats.embedding_file import read_embedding

log = logging.getLogger(__name__)

EMBEDDINGS = (".safetensors", ".pt", ".bin")
MOST_VECTORS = 75  # of one chunk

Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Embeddings:
    """What a prompt may name."""

    vectors: Mapping[str, tuple[Tensor, ...]]
    paths: Mapping[str, Path]
    problems: Mapping[str, str]  # file name -> why it cannot be used

    def counts(self) -> dict[str, int]:
        """Name -> number of vectors."""
        return {name: len(tensors[0]) for name, tensors in self.vectors.items()}


class EmbeddingFolder:
    """A folder of embeddings, with subfolders; the name of one is its file's, without extension."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._guard = threading.Lock()  # the token counter asks while a prompt is being drawn
        self._read: dict[tuple[Path, int], tuple[Stamp, tuple[Tensor, ...] | str]] = {}

    def scan(self, widths: tuple[int, ...]) -> Embeddings:
        """The embeddings for text encoders of these widths; those for others are left out without a word."""
        vectors: dict[str, tuple[Tensor, ...]] = {}
        paths: dict[str, Path] = {}
        problems: dict[str, str] = {}
        for path in files_under(self.folder, EMBEDDINGS):
            with self._guard:
                content = self._content(path, len(widths))
            if isinstance(content, str):
                problems[path.name] = content
            elif tuple(tensor.shape[1] for tensor in content) == widths:
                if len(content[0]) > MOST_VECTORS:
                    problems[path.name] = f"{path.name} has {len(content[0])} vectors; a prompt has room for {MOST_VECTORS}."
                elif path.stem in vectors:
                    problems[path.name] = f"{path} has the name of {paths[path.stem]}, which is used."
                else:
                    vectors[path.stem], paths[path.stem] = content, path
        return Embeddings(vectors, paths, problems)

    def forget(self, path: Path) -> None:
        """Makes the next scan read `path`, even if it looks unchanged."""
        with self._guard:
            for key in [key for key in self._read if key[0] == path]:
                del self._read[key]

    def _content(self, path: Path, encoders: int) -> tuple[Tensor, ...] | str:
        """The vectors, or what is wrong with the file."""
        stamp = stamp_of(path)
        known = self._read.get((path, encoders))
        if known and known[0] == stamp:
            return known[1]
        content: tuple[Tensor, ...] | str
        try:
            content = read_embedding(path, encoders)
        except FormatError as error:
            content = str(error)
            log.warning("Embedding left out: %s", error)
        self._read[path, encoders] = (stamp, content)
        return content


def stamp_of(path: Path) -> Stamp:
    """Changes when a file is written to or replaced; zeros when it has gone."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def files_under(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files of a kind in `folder` and below, sorted; hidden ones are somebody's work in progress."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file()
                  and not path.name.startswith("."))
