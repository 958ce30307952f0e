"""Which checkpoint AUTOMATIC1111 and reForge have loaded, and another one for a while. Seen with 1.10.1 and 3b56b268."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pivotal.errors import HostError
from pivotal.hosts.a1111_guard import loaded_model
from pivotal.hosts.a1111_model import family_of as a1111_family
from pivotal.hosts.a1111_model import input_blocks, refuse_other_file
from pivotal.hosts.checkpoint_list import by_name, listed_name
from pivotal.hosts.protocol import Checkpoint

log = logging.getLogger(__name__)


def described(family_of: Callable[[Any], str] = a1111_family) -> Checkpoint | None:
    """What is loaded now; None when nothing is.

    Args:
        family_of: of the host's model.
    """
    model = loaded_model()
    info = getattr(model, "sd_checkpoint_info", None)
    if info is None:
        return None
    return Checkpoint(listed_name(info), Path(info.filename).absolute(), family_of(model), input_blocks(model))


def is_chosen(info: Any) -> bool:
    """Whether the next generation will find the checkpoint loaded that the page has chosen."""
    from modules import sd_models, shared

    chosen = sd_models.checkpoint_aliases.get(shared.opts.sd_model_checkpoint)
    return chosen is None or chosen.filename == info.filename


@contextmanager
def switched_to(checkpoint: str) -> Iterator[Any]:
    """The host's model with the weights of `checkpoint` ("": as they are); on exit the ones before are loaded again.

    What the user has chosen in the page is left alone, so that the host shows and saves what it did before.
    """
    from modules import shared

    model = shared.sd_model  # loads the chosen checkpoint if the host has not yet (--skip-load-model-at-start)
    if model is None:
        raise HostError("the WebUI has no checkpoint loaded, or could not load it; its log says why.")
    before = model.sd_checkpoint_info
    if not checkpoint or checkpoint == listed_name(before):
        yield model
        return
    wanted = by_name().get(checkpoint)
    if wanted is None:
        raise HostError(f"{checkpoint!r} is not among the WebUI's checkpoints.")
    refuse_other_file(Path(wanted.filename))
    try:
        yield _load(wanted)
    finally:
        # Where a file could not be read, 1.10.1 keeps the model before, without its hijack; force puts that on again.
        broken = getattr(loaded_model(), "sd_checkpoint_info", None) is before
        _load(before, forced_reload=broken)


def _load(info: Any, *, forced_reload: bool = False) -> Any:
    """Loads another checkpoint by the host's own means.

    Raises:
        HostError: it cannot be loaded.
    """
    from modules import sd_models

    try:
        with sd_models.SkipWritingToConfig():
            model = sd_models.reload_model_weights(info=info, forced_reload=forced_reload)
    except Exception as error:
        log.exception("%s could not be loaded", info.name)
        raise HostError(f"the WebUI could not load {info.name}: {type(error).__name__}: {error}") from error
    return model
