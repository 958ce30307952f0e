"""What can be known to be wrong with a run's embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pivotal.config.sections.embedding import Embedding
from pivotal.config.train import TrainConfig
from pivotal.data.captions import Captions, longest_in_chunks
from pivotal.embeddings.initialize import vector_count
from pivotal.errors import FormatError, HostError
from pivotal.hosts.protocol import Host
from pivotal.jobs.checks.problems import Problems, family_of
from pivotal.jobs.continued import base_vectors
from pivotal.jobs.paths import embedding_path
from pivotal.prompts.chunks import tokenize_caption
from pivotal.prompts.placeholders import find_placeholders, placeholder_problems


def check_embeddings(config: TrainConfig, host: Host, captions: Captions | None, found: Problems) -> None:
    """Adds what is wrong with placeholders, captions and files."""
    try:
        tokenizer = next(iter(host.prompt_context().encoders.values()))
    except HostError as error:
        found.add("checkpoint", str(error))
        return
    names = [row.placeholder for row in config.embeddings]
    used = _used_names(config, captions, tokenizer)
    for index, row in enumerate(config.embeddings):
        key = f"embeddings.{index}"
        others = [name for place, name in enumerate(names) if place != index]
        count = vector_count(tokenizer, row.initial_text, row.token_count)
        for text in placeholder_problems(row.placeholder, vectors=count, tokenizer=tokenizer, others=others):
            found.add(f"{key}.placeholder", text)
        if row.train and captions is not None and row.placeholder not in used:
            found.add(f"{key}.placeholder", f"no caption contains {row.placeholder!r} as a word of its own, so it would "
                                            "never be trained; write it into captions, or take captions from templates.")
        if row.base_embedding:
            _check_base(f"{key}.base_embedding", row, family_of(config, host), found)
        path = embedding_path(host.folders().embeddings, row.placeholder)
        if row.train and config.save.existing == "refuse" and path.exists():
            found.add(f"{key}.placeholder", f"{path} exists; choose another word, or let the older file be replaced.")


def _used_names(config: TrainConfig, captions: Captions | None, tokenizer: Any) -> set[str]:
    """The placeholders that some caption has, as far as captions are not cut off."""
    names = [row.placeholder for row in config.embeddings]
    if captions is None:
        return set(names)
    longest = longest_in_chunks(config.caption)
    if longest is None:
        return {name for text in captions.all_texts() for _, _, name in find_placeholders(text, names)}
    counts = {row.placeholder: vector_count(tokenizer, row.initial_text, row.token_count) for row in config.embeddings}
    tokenized = (tokenize_caption(text, tokenizer, counts, emphasis=config.caption.weighted, longest=longest)
                 for text in captions.all_texts())
    return {slot.name for prompt in tokenized for chunk in prompt.chunks for slot in chunk.slots}


def _check_base(key: str, row: Embedding, family: str | None, found: Problems) -> None:
    path = Path(row.base_embedding).expanduser()
    if not path.is_file():
        found.add(key, f"{path} does not exist.")
        return
    if family is None:
        return  # seen when the checkpoint is loaded
    try:
        vectors = base_vectors(row, 2 if family == "sdxl" else 1)
    except FormatError as error:
        found.add(key, str(error))
        return
    if row.token_count is not None and row.token_count != len(vectors[0]):
        found.add(key.replace("base_embedding", "token_count"), f"{path.name} has {len(vectors[0])} vectors, not "
                                                                f"{row.token_count}; leave the token count empty.")
