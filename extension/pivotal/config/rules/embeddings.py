"""What is wrong between the rows of embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pivotal.config.rules.stops import stop_problems

if TYPE_CHECKING:
    from pivotal.config.train import TrainConfig


def embedding_problems(config: TrainConfig) -> dict[str, str]:
    """Problems by key."""
    rows, alone = config.embeddings, config.network.method == "none"
    if not rows:
        return {"embeddings": "nothing to train; add an embedding, or choose a network"} if alone else {}
    found: dict[str, str] = {}
    if alone and not any(row.train for row in rows):
        found["embeddings.0.train"] = "nothing to train; switch at least one embedding on"
    first: dict[str, int] = {}
    for index, row in enumerate(rows):
        key, name = f"embeddings.{index}", row.placeholder.strip().lower()
        if name in first:
            found[f"{key}.placeholder"] = (
                f"{row.placeholder!r} is also the word of embedding {first[name] + 1}; give each its own "
                "(upper and lower case are the same to the text encoder)")
        first.setdefault(name, index)
        found |= stop_problems(f"{key}.stop_after", row.stop_after, f"{key}.stop_unit", row.stop_unit)
        if not row.train and not row.base_embedding and not config.network.base_file:
            found[f"{key}.base_embedding"] = "an embedding that is not trained needs a file"
    return found
