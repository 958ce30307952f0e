"""Embeddings that are bundled in a LoRA, for reForge, which leaves them out (Lora/networks.py). Seen with main, commit 3b56b268.

As in Forge (forge_bundles.py), but for AUTOMATIC1111's table of embeddings, and without a limit to unknown keys.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from pivotal.hosts.forge_bundles import KIND, BundleReader, read_bundle

log = logging.getLogger(__name__)


class ReforgeBundleReader(BundleReader):
    """Stands before the host's LoRAs, under the name and all aliases that they have ("lyco")."""

    def _lend(self, file: Path, p: Any) -> None:
        from modules import sd_hijack, shared
        from modules.textual_inversion.textual_inversion import create_embedding_from_data

        try:
            about = file.stat()
            bundle, _ = read_bundle(file, about.st_mtime_ns, about.st_size)
        except (OSError, SafetensorError) as error:
            log.warning("%s: what is bundled in it could not be read: %s", file.name, error)
            return
        database = sd_hijack.model_hijack.embedding_db
        for word, vectors in bundle.items():
            if word in database.word_embeddings:
                continue  # a file of its own outranks it
            data = {"emb_params": vectors[0]} if len(vectors) == 1 else {"clip_l": vectors[0], "clip_g": vectors[1]}
            embedding = create_embedding_from_data(data, word, filename=file.name)
            if database.expected_shape not in (-1, embedding.shape):
                continue
            embedding.filename = str(file)
            embedding.hash = embedding.shorthash = sys.modules["networks"].BundledTIHash(file.stem)  # for the infotext
            database.register_embedding(embedding, shared.sd_model)
            self._lent.append((database, word, embedding))

    def _take_back(self) -> None:
        from modules import shared

        for database, word, embedding in self._lent:
            if database.word_embeddings.get(word) is embedding:  # else its own file was read meanwhile
                database.register_embedding_by_name(None, shared.sd_model, word)
        self._lent.clear()

    def remove(self) -> None:
        super().remove()
        _rename_aliases(self, self.before)


def install() -> None:
    """Puts a ReforgeBundleReader before the host's LoRAs, unless there is one, or the built-in extension is disabled."""
    from modules import extra_networks

    before = extra_networks.extra_network_registry.get(KIND)
    if before is not None and not isinstance(before, BundleReader) and hasattr(sys.modules.get("networks"), "BundledTIHash"):
        reader = ReforgeBundleReader(before)
        extra_networks.register_extra_network(reader)
        _rename_aliases(before, reader)


def _rename_aliases(before: Any, after: Any) -> None:
    """All that is not named in a prompt is told so, the last being heard: two that load LoRAs would undo each other's."""
    from modules import extra_networks

    for alias, kind in list(extra_networks.extra_network_aliases.items()):
        if kind is before:
            extra_networks.register_extra_network_alias(after, alias)
