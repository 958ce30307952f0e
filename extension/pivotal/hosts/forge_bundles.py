"""Embeddings that are bundled in a LoRA, for Forge, which leaves them out (sd_forge_lora/networks.py). Seen with f2.0.1v1.10.1.

As in AUTOMATIC1111 they are there while a prompt has the LoRA's tag, and an embedding's own file of that name goes first.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pivotal.formats.bundle import PREFIX, bundled_vectors, split_bundle_key
from pivotal.hosts.forge_checkpoint import loaded_model
from pivotal.hosts.forge_text import engines

log = logging.getLogger(__name__)

KIND = "lora"  # of extra networks: <lora:name:1>
UNKNOWN_KEYS = 12  # the host refuses a whole LoRA that has more (networks.py, load_lora_for_models)

Bundle = dict[str, tuple[Tensor, ...]]  # word -> (count, width) per text encoder


class BundleReader:
    """Stands before the host's own kind of extra network, and lends it the bundled embeddings while a prompt is drawn."""

    name = KIND

    def __init__(self, before: Any):
        self.before = before
        self._lent: list[tuple[Any, str, Any]] = []  # table, word, embedding

    def activate(self, p: Any, params_list: Sequence[Any]) -> None:
        """Called once for every prompt, with or without a tag, before the prompt is encoded."""
        self._take_back()
        self.before.activate(p, params_list)
        for network in sys.modules["networks"].loaded_networks:
            self._lend(Path(network.network_on_disk.filename), p)

    def deactivate(self, p: Any) -> None:
        """Called when the pictures are done; not after an exception, for which `activate` and `remove` make up."""
        self._take_back()
        self.before.deactivate(p)

    def _lend(self, file: Path, p: Any) -> None:
        try:
            about = file.stat()
            bundle, keys = read_bundle(file, about.st_mtime_ns, about.st_size)
        except (OSError, SafetensorError) as error:
            log.warning("%s: what is bundled in it could not be read: %s", file.name, error)
            return
        if keys > UNKNOWN_KEYS:
            p.comment(f"{file.name} bundles {keys} tensors of embeddings; Forge refuses a LoRA with more than {UNKNOWN_KEYS} "
                      "keys that it does not know. Take the embeddings out with Pivotal's bundle tool.")
        for word, vectors in bundle.items():
            for engine in engines(loaded_model()).values():
                self._register(engine.embeddings, word, vectors, file)

    def _register(self, database: Any, word: str, vectors: tuple[Tensor, ...], file: Path) -> None:
        from backend.text_processing.textual_inversion import create_embedding_from_data

        if word in database.word_embeddings:
            return
        data = {"string_to_param": {"*": vectors[0]}} if len(vectors) == 1 else dict(zip(("clip_l", "clip_g"), vectors,
                                                                                         strict=True))
        embedding = create_embedding_from_data(data, word, filename=file.name, filepath=str(file))
        if database.expected_shape in (-1, embedding.shape):
            database.register_embedding(embedding)
            self._lent.append((database, word, embedding))

    def _take_back(self) -> None:
        for database, word, embedding in self._lent:
            if database.word_embeddings.get(word) is embedding:  # else its own file was read meanwhile
                database.register_embedding_by_name(None, word)
        self._lent.clear()

    def remove(self) -> None:
        """Gives the place back to who had it."""
        from modules import extra_networks

        self._take_back()
        if extra_networks.extra_network_registry.get(KIND) is self:
            extra_networks.register_extra_network(self.before)


@lru_cache(maxsize=16)
def read_bundle(file: Path, _changed: int, _size: int) -> tuple[Bundle, int]:
    """The embeddings in a LoRA's file, by word, and how many tensors they are there.

    Args:
        _changed, _size: of the file, so that a replaced one is read again.

    Raises:
        SafetensorError, OSError: it cannot be read.
    """
    if file.suffix.lower() != ".safetensors":
        return {}, 0
    parts: dict[str, dict[str, Tensor]] = {}
    with safe_open(str(file), framework="pt") as opened:
        keys = [key for key in opened.keys() if key.startswith(PREFIX)]
        for key in keys:
            split = split_bundle_key(key)
            if split is not None:
                parts.setdefault(split[0], {})[split[1]] = opened.get_tensor(key).clone()  # not the mapped file's memory
    with torch.no_grad():
        found = {word: bundled_vectors(tensors) for word, tensors in parts.items()}
    return {word: vectors for word, vectors in found.items() if vectors is not None}, len(keys)


def install() -> None:
    """Puts a BundleReader before the host's LoRAs, unless there is one, or the built-in extension is disabled."""
    from modules import extra_networks

    before = extra_networks.extra_network_registry.get(KIND)
    if before is not None and not isinstance(before, BundleReader) and hasattr(sys.modules.get("networks"), "loaded_networks"):
        extra_networks.register_extra_network(BundleReader(before))


def uninstall() -> None:
    """Undoes `install`."""
    from modules import extra_networks

    reader = extra_networks.extra_network_registry.get(KIND)
    if isinstance(reader, BundleReader):
        reader.remove()


def reads_bundles() -> bool:
    """Whether `install` was done, and nobody has taken the place since."""
    from modules import extra_networks

    return isinstance(extra_networks.extra_network_registry.get(KIND), BundleReader)
