"""Where vectors start, by each of the named rules."""

from __future__ import annotations

import pytest
import torch

from fake_host import tokenizer
from pivotal.embeddings.initialize import initial_ids, initial_vectors, median_norm, vector_count

STAR = 9


@pytest.mark.parametrize(("fill", "expected"), [
    ("pad", [5, 6, STAR, STAR, STAR]), ("repeat", [5, 6, 5, 6, 5]), ("stretch", [5, 5, 5, 6, 6]),
    ("random", [5, 6, None, None, None])])
def test_a_text_that_is_too_short_is_filled(fill, expected):
    assert initial_ids([5, 6], 5, fill, STAR) == expected


@pytest.mark.parametrize("fill", ["pad", "repeat", "stretch", "random"])
def test_a_text_that_is_too_long_is_cut_and_none_at_all_is_filled(fill):
    assert initial_ids([1, 2, 3], 2, fill, STAR) == [1, 2]
    assert len(initial_ids([], 3, fill, STAR)) == 3


def test_the_count_is_that_of_the_text_when_left_blank():
    assert vector_count(tokenizer(), "a photo of a cat", None) == 5
    assert vector_count(tokenizer(), "a photo of a cat", 2) == 2
    assert vector_count(tokenizer(), "", None) == 1
    assert vector_count(tokenizer(), "cat " * 90, None) == 75


def test_vectors_are_the_tables_rows_and_noise_of_its_median_length():
    table = torch.randn(50, 16, generator=torch.Generator().manual_seed(0)) * 0.1
    vectors = initial_vectors(table.half(), [3, None], torch.Generator().manual_seed(1))
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors[0], table.half()[3].float())
    norms = sorted(sum(x * x for x in row) ** 0.5 for row in table.half().float().tolist())
    assert median_norm(table.half()) == pytest.approx(norms[24], rel=1e-5)  # torch's median: the lower middle of 50
    assert vectors[1].norm().item() == pytest.approx(norms[24], rel=1e-5)
