"""An embedding as the loop sees it."""

from __future__ import annotations

import torch

from pivotal.embeddings.trained import TrainedEmbedding


def test_norm_preservation_rescales_each_vector_per_encoder():
    embedding = TrainedEmbedding("x", [torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.full((2, 3), 7.0)], norms=[0.5, 2.0])
    embedding.after_step()
    torch.testing.assert_close(embedding.values[0].data, torch.tensor([[0.3, 0.4], [0.0, 0.5]]))
    torch.testing.assert_close(embedding.values[1].data, torch.full((2, 3), 2.0 / 3**0.5))


def test_masters_are_fp32_copies_of_what_they_start_from():
    start = torch.ones(2, 4, dtype=torch.float16)
    embedding = TrainedEmbedding("x", [start])
    with torch.no_grad():
        embedding.values[0].add_(1e-6)
    assert embedding.values[0].dtype == torch.float32 and start.eq(1).all() and embedding.values[0].ne(1).all()
