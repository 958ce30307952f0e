"""Makes Forge use a file just written in its very next prompt: it keeps what it has read of a name. Seen with f2.0.1v1.10.1."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pivotal.errors import HostError

STALE = "stale"  # equal to none of the host's own marks, which are lists written out


def refresh_embedding(engines: Iterable[Any], artifact: Path) -> None:
    """Reads one file into the tables that prompts are looked up in, of which SDXL has two; nothing when no model is loaded.

    Only that one: reading the folder anew would have the host rename every file that it cannot read
    (modules_forge/patch_basic.py).

    Raises:
        HostError: it does not fit the model, or was not taken up.
    """
    for engine in engines:
        database = engine.embeddings
        database.skipped_embeddings.pop(artifact.stem, None)
        database.load_from_file(str(artifact), artifact.name)
        if artifact.stem in database.skipped_embeddings:
            raise HostError(f"{artifact.name} does not fit the checkpoint that is loaded; load one that it fits to use it.")
        if artifact.stem not in database.word_embeddings:
            raise HostError(f"the WebUI did not take up {artifact}; its log says why.")


def refresh_networks(model: Any) -> None:
    """Four memories go by a LoRA's file name: its tensors, which LoRAs are chosen, and which are in UNet and text encoder.

    Args:
        model: the host's sd_model; None: only what is on disk is looked through.
    """
    networks = _networks()
    if networks is not None:
        networks.load_lora_state_dict.cache_clear()
        networks.list_available_networks()
    if model is not None:
        model.current_lora_hash = STALE
        parts = model.forge_objects_original
        parts.unet.lora_loader.loaded_hash = parts.clip.patcher.lora_loader.loaded_hash = STALE


def let_go_of_files(model: Any, engines: Iterable[Any]) -> None:
    """Copies or drops what the host has mapped of LoRAs' and embeddings' files, for Windows replaces no file that is mapped.

    For when no LoRA is in the weights; the next prompt with one reads its file again. Under --api the API has all embeddings
    mapped in a table of its own, out of reach from here (modules/api/api.py).
    """
    networks = _networks()
    if networks is not None:
        networks.load_lora_state_dict.cache_clear()
        model.current_lora_hash = STALE
        model.forge_objects = model.forge_objects_original.shallow_copy()
        model.forge_objects_after_applying_lora = model.forge_objects_original.shallow_copy()
    cards = sys.modules.get("modules.ui_extra_networks_textual_inversion")
    for database in [*(engine.embeddings for engine in engines), *([cards.embedding_db] if cards else [])]:
        for embedding in [*database.word_embeddings.values(), *database.skipped_embeddings.values()]:
            vec = embedding.vec  # SDXL's is one of each text encoder
            embedding.vec = {key: part.clone() for key, part in vec.items()} if isinstance(vec, dict) else vec.clone()


def forget_prompts() -> None:
    """Empties the cache of encoded prompts, whose key is the prompt's text and not what an embedding in it is.

    In place: a generation that waits in the queue may hold the very lists (processing.py, __post_init__). The host's own
    mark for this, need_global_unload, would also have it move all weights.
    """
    from modules.processing import StableDiffusionProcessing, StableDiffusionProcessingTxt2Img

    for cache in (StableDiffusionProcessing.cached_c, StableDiffusionProcessing.cached_uc,
                  StableDiffusionProcessingTxt2Img.cached_hr_c, StableDiffusionProcessingTxt2Img.cached_hr_uc):
        cache[:] = [None] * len(cache)


def _networks() -> Any:
    """A top-level module of the built-in extension; None when that is disabled."""
    found = sys.modules.get("networks")
    return found if hasattr(found, "load_lora_state_dict") else None
