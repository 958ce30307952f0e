"""Making SD.Next use a file that was just written. Seen with 058a7f0 (July 2026).

What it keeps in memory: embeddings as tokens and rows of the text encoders' tables; read networks by name, and the tensors
of their files by path; encoded prompts by their text; which networks are in the weights, by name and strength.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from pivotal.errors import HostError
from pivotal.hosts.sdnext_guard import loaded_pipe
from pivotal.hosts.sdnext_model import parts_of
from pivotal.prompts.vocabulary import SIZE

log = logging.getLogger(__name__)


def refresh_embeddings(artifact: Path) -> None:
    """Raises HostError when the host did not take the file up, and says why.

    A file that was replaced is not seen by its own looking, which asks the folder's time.
    """
    from modules import shared

    pipe = loaded_pipe()
    if pipe is None:
        return  # loading a checkpoint reads all embeddings
    if not shared.opts.diffusers_enable_embed:
        raise HostError("SD.Next does not use embeddings: turn on Settings > Networks > Enable embeddings support.")
    name, database = artifact.stem, pipe.embedding_db
    database.load_textual_inversion_embeddings(force_reload=True)
    if name in database.skipped_embeddings:
        raise HostError(f"{artifact.name} does not fit the checkpoint that is loaded; load one that it fits to use it.")
    if name not in database.word_embeddings:
        raise HostError(f"SD.Next did not take up {artifact}; its log says why.")
    if _has_stale_tokens(pipe, name, len(database.word_embeddings[name].tokens)):
        for tokenizer in tokenizers(pipe):
            forget_added_tokens(tokenizer)
        database.load_textual_inversion_embeddings(force_reload=True)


def refresh_networks(artifact: Path) -> None:
    """A replaced LoRA under the same tag would go on in its old form, in each of the four memories.

    One that is in the weights stays in `previously_loaded_networks` as it was, so that the next prompt takes out what
    was put in.
    """
    from modules import shared
    from modules.lora import lora_load
    from modules.sd_models_utils import state_dict_cache

    lora_load.list_available_networks()
    for name, network in list(lora_load.available_networks.items()):
        if Path(network.filename).absolute() == artifact.absolute():
            lora_load.lora_cache.pop(name, None)
            state_dict_cache._cache.pop(network.filename, None)  # it has no other way to forget one
    pipe = loaded_pipe()
    if pipe is None:
        return
    getattr(pipe, "loaded_loras", {}).clear()
    if not shared.opts.lora_fuse_native:  # then layers compare names, too
        for module in (module for part in parts_of(pipe).values() for module in part.modules()):
            if getattr(module, "network_current_names", ()) != ():
                module.network_current_names = ()
    _refuse_what_is_left_out(artifact, shared.opts)


def _refuse_what_is_left_out(artifact: Path, options: Any) -> None:
    """Raises HostError when the host, set as it is, applies nothing of a network, or breaks the model with it."""
    names = _names(artifact)
    texts = sum(name.startswith("lora_te") for name in names)
    if options.lora_fuse_native and any(name.endswith((".diff_b", ".b_norm")) for name in names):
        raise HostError("it changes biases, which SD.Next adds to the weights instead (lora_apply.py, network_add_weights). Turn "
                        "off Settings > Networks > LoRA native fuse with model before you use it; biases are left out then.")
    if texts and not options.lora_apply_te:
        told = ("SD.Next leaves the text encoder's part of LoRAs out unless Settings > Networks > LoRA native apply to text "
                "encoder is on")
        if texts == sum(name.startswith("lora_") for name in names):
            raise HostError(f"{told}; this one has no other.")
        log.warning("%s: %s.", artifact.name, told)


def forget_prompts() -> None:
    """Empties the cache of encoded prompts, whose key is the prompt's text and not what an embedding in it is."""
    from modules import prompt_parser_diffusers

    prompt_parser_diffusers.cache.clear()


def tokenizers(pipe: Any) -> list[Any]:
    """The pipeline's own."""
    found = [getattr(pipe, name, None) for name in ("tokenizer", "tokenizer_2")]
    return [tokenizer for tokenizer in found if tokenizer is not None]


def _has_stale_tokens(pipe: Any, name: str, vectors: int) -> bool:
    """Whether a longer embedding had the name: a prompt goes on to its rows (prompt_parser_diffusers.py)."""
    return any(f"{name}_{vectors}" in tokenizer.added_tokens_encoder for tokenizer in tokenizers(pipe))


def forget_added_tokens(tokenizer: Any) -> None:
    """Takes all tokens of embeddings out; the host never does (its deref_tokenizers finds nothing in transformers 5)."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # a slow tokenizer, of transformers 4
        for token, number in list(tokenizer.added_tokens_encoder.items()):
            if number >= SIZE:
                tokenizer._added_tokens_encoder.pop(token, None)
                tokenizer._added_tokens_decoder.pop(number, None)
        return
    described = json.loads(backend.to_str())
    described["added_tokens"] = [token for token in described["added_tokens"] if token["id"] < SIZE]
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(described))


def _names(artifact: Path) -> list[str]:
    """Of its tensors; none when the file cannot be read, as the host will tell."""
    try:
        with safe_open(str(artifact), framework="pt") as opened:
            return list(opened.keys())
    except (SafetensorError, OSError):
        return []
