"""Making AUTOMATIC1111 use a file that was just written; embeddings and prompts in reForge, too. Seen with 1.10.1."""

from __future__ import annotations

import sys
from pathlib import Path

from pivotal.errors import HostError
from pivotal.hosts.a1111_guard import loaded_model
from pivotal.hosts.a1111_model import take_out_networks


def refresh_embeddings(artifact: Path) -> None:
    """The host finds a new file by itself, but not one that was replaced within a subfolder or the same second."""
    from modules import sd_hijack

    if loaded_model() is None:
        return  # loading a checkpoint reads all embeddings
    database = sd_hijack.model_hijack.embedding_db
    database.load_textual_inversion_embeddings(force_reload=True)
    if artifact.stem in database.skipped_embeddings:
        raise HostError(f"{artifact.name} does not fit the checkpoint that is loaded; load one that it fits to use it.")
    if artifact.stem not in database.word_embeddings:
        raise HostError(f"the WebUI did not take up {artifact}; its log says why.")


def refresh_networks(artifact: Path) -> None:
    """A replaced LoRA under the same tag would go on in its old form: layers compare names, not files.

    Nor is a file read again whose time is not later than that of the one in memory, as within one tick of its disk.
    """
    model = loaded_model()
    if model is not None:
        take_out_networks(model)
    networks = sys.modules.get("networks")
    if not hasattr(networks, "list_available_networks"):
        return  # the built-in Lora extension is disabled
    networks.list_available_networks()
    for network in [*networks.networks_in_memory.values(), *networks.loaded_networks]:
        if Path(network.network_on_disk.filename).absolute() == artifact.absolute():
            network.mtime = 0.0


def forget_prompts() -> None:
    """Empties the cache of encoded prompts, whose key is the prompt's text and not what an embedding in it is.

    In place: a generation that waits in the queue may hold the very lists (processing.py, persistent_cond_cache).
    """
    from modules.processing import StableDiffusionProcessing, StableDiffusionProcessingTxt2Img

    for cache in (StableDiffusionProcessing.cached_c, StableDiffusionProcessing.cached_uc,
                  StableDiffusionProcessingTxt2Img.cached_hr_c, StableDiffusionProcessingTxt2Img.cached_hr_uc):
        cache[:] = [None] * len(cache)
