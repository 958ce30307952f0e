"""Trained vectors among an encoder's tokens, against a plain loop."""

from __future__ import annotations

import math

import pytest
import torch

from pivotal.embeddings.initialize import row_norms
from pivotal.embeddings.nearest import TOKENS, drift, nearest_tokens


def test_the_nearest_tokens_are_those_of_a_plain_loop():
    generator = torch.Generator().manual_seed(1)
    table = torch.randn(TOKENS + 2, 8, generator=generator) * torch.rand(TOKENS + 2, 1, generator=generator)
    vectors = torch.stack([table[17_000] * 5, table[40_000] * 0.1, torch.randn(8, generator=generator)])
    cosines, ids = nearest_tokens(vectors, table, row_norms(table), 3)
    for vector, found, values in zip(vectors.double(), ids.tolist(), cosines.tolist(), strict=True):
        plain = (table[:TOKENS].double() @ vector / (table[:TOKENS].double().norm(dim=1) * vector.norm())).tolist()
        best = sorted(range(TOKENS), key=lambda token: -plain[token])[:3]
        assert found == best and values == pytest.approx([plain[token] for token in best], abs=1e-5)
    assert ids[0, 0] == 17_000 and ids[1, 0] == 40_000 and cosines[:2, 0].tolist() == pytest.approx([1, 1], abs=1e-5)


def test_the_marks_and_rows_that_a_host_has_added_are_no_words():
    table = torch.eye(4).repeat(TOKENS // 4 + 3, 1)[: TOKENS + 5].clone()
    table[TOKENS:] = torch.tensor([1.0, 1.0, 0.0, 0.0])
    table[17] = 0  # as some checkpoints have
    cosines, ids = nearest_tokens(torch.tensor([[1.0, 1.0, 0.0, 0.0]]), table.half(), row_norms(table.half()), 2)
    assert torch.isfinite(cosines).all()
    assert ids.max() < TOKENS


def test_drift_is_the_angle_from_the_start_whatever_the_length():
    start = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    now = torch.tensor([[3.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [1.0, 1.0]])
    assert drift(now, start).tolist() == pytest.approx([0, 1, 2, 1 - math.sqrt(0.5)], abs=1e-9)
