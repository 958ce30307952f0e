"""Which checkpoint Forge has loaded, and which it will load; another one for a while. Seen with f2.0.1v1.10.1."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pivotal.errors import HostError
from pivotal.hosts.a1111_model import refuse_other_file
from pivotal.hosts.checkpoint_list import by_name, listed_name

log = logging.getLogger(__name__)


def loaded_model() -> Any:
    """The model in memory, or None.

    Before the first generation there is a stand-in that is neither None nor a model (sd_models.py, FakeInitialModel).
    """
    from modules import sd_models

    model = sd_models.model_data.sd_model
    return model if hasattr(model, "forge_objects") else None


def selected() -> Any:
    """What the next generation will load, if it is not loaded yet; None when there is no checkpoint at all."""
    from modules import sd_models

    return sd_models.model_data.forge_loading_parameters.get("checkpoint_info")


def needs_reload() -> bool:
    """Whether the next generation will load something else than what is loaded."""
    from modules import sd_models

    data = sd_models.model_data
    return loaded_model() is None or data.forge_hash != str(data.forge_loading_parameters)


@contextmanager
def switched_to(checkpoint: str) -> Iterator[Any]:
    """The host's model with the weights of `checkpoint` ("": of the one that is chosen).

    On exit the host is told to load what it had; it does at its next generation, as it does everything. What the user has
    chosen in the page is left alone, also when that was done meanwhile.

    Raises:
        HostError: there is no such checkpoint, or it cannot be loaded.
    """
    from modules import sd_models

    data, chosen = sd_models.model_data, selected()
    if chosen is None:
        raise HostError("the WebUI has no checkpoint. Put one into models/Stable-diffusion, and choose it.")
    if not checkpoint or checkpoint == listed_name(chosen):
        yield _load()
        return
    wanted = by_name().get(checkpoint)
    if wanted is None:
        raise HostError(f"{checkpoint!r} is not among the WebUI's checkpoints.")
    before = data.forge_loading_parameters
    ours = data.forge_loading_parameters = before | {"checkpoint_info": wanted}
    try:
        yield _load()
    finally:
        if data.forge_loading_parameters is ours:
            data.forge_loading_parameters = before


def _load() -> Any:
    """The chosen checkpoint, loaded by the host's own means if it is not yet.

    Raises:
        HostError: it cannot be trained on, or not be loaded.
    """
    from modules import sd_models

    data, info = sd_models.model_data, selected()
    if needs_reload():
        refuse_other_file(Path(info.filename))  # a Flux checkpoint takes minutes and most of the memory
    try:
        model, _ = sd_models.forge_model_reload()
    except Exception as error:
        # The host has let go of its model by now, and goes on believing that it has it: it would draw with none.
        data.forge_hash = ""
        log.exception("%s could not be loaded", info.name)
        raise HostError(f"the WebUI could not load {info.name}: {type(error).__name__}: {error}") from error
    return model
