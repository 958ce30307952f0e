"""The first captions of a run as its text encoder will get them, before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pivotal.config.sections.embedding import Embedding
from pivotal.config.train import TrainConfig
from pivotal.data.captions import longest_in_chunks
from pivotal.embeddings.initialize import vector_count
from pivotal.hosts.protocol import Host
from pivotal.jobs.batches import ranks_of
from pivotal.jobs.checks.plan import Plan
from pivotal.jobs.continued import base_vectors
from pivotal.jobs.dataset_plan import order_of, usual_resolution, views_of
from pivotal.prompts.chunks import caption_units, count_cells

MOST = 20


@dataclass(frozen=True)
class ShownCaption:
    """One of the texts that a run begins with, and the image it comes with."""

    image: Path
    concept: str
    text: str  # placeholders as words
    tokens: int | None  # without begin and end; None while the host has no tokenizer
    chunks: int  # of 75 tokens, that the text encoder gets
    cut: int | None  # the letter from which on the text encoder gets nothing; None: it gets all


def first_captions(plan: Plan, host: Host, most: int = MOST) -> list[ShownCaption]:
    """What the run sees first, in its own order, drawn with its own seed."""
    config, items = plan.config, plan.captions.items
    views = views_of(plan.captions, config, usual_resolution(config, host))
    ranks, counts = ranks_of([view.item for view in views])
    order = order_of(views, config)
    tokenizer = next(iter(host.prompt_context().encoders.values()), None)
    vectors = {} if tokenizer is None else vectors_of(config, tokenizer, host)
    steps = min(most, config.length.steps * config.batch.accumulation)  # a batch has one image at least
    places = (place for batch in range(steps) for place in order.at(batch * config.batch.size))
    found = []
    for place in islice(places, most):
        item = views[place.view].item
        text = plan.captions.text(item, place.epoch, place.time * counts[item] + ranks[place.view])
        told = (None, 0, None) if tokenizer is None else _counted(text, tokenizer, vectors, config)
        found.append(ShownCaption(items[item].path, plan.captions.concepts[items[item].concept].name, text, *told))
    return found


def vectors_of(config: TrainConfig, tokenizer: Any, host: Host) -> dict[str, int]:
    """Placeholder -> number of vectors, as the run will have them."""
    loaded = host.checkpoint()
    encoders = 2 if loaded is not None and loaded.family == "sdxl" else 1
    return {row.placeholder: _count(row, tokenizer, encoders) for row in config.embeddings}


def _count(row: Embedding, tokenizer: Any, encoders: int) -> int:
    if row.base_embedding:
        return len(base_vectors(row, encoders)[0])
    return vector_count(tokenizer, row.initial_text, row.token_count)


def _counted(text: str, tokenizer: Any, vectors: Mapping[str, int], config: TrainConfig) -> tuple[int, int, int | None]:
    longest = longest_in_chunks(config.caption)
    units = list(caption_units(text, tokenizer, vectors, emphasis=config.caption.weighted, breaks=longest is None))
    chunks, count = count_cells(units, tokenizer)
    if longest is None or len(chunks) <= longest:
        return count, len(chunks), None
    begin = next((cell.unit.span[0] for chunk in chunks[longest:] for cell in chunk if cell.unit.span), None)
    return count, longest, len(text) if begin is None else begin
