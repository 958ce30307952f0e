"""DoRA: a length per column of the weight, learned apart from the direction (Liu et al. 2024, arXiv:2402.09353).

W' = (W + D) m / |W + D|, where m starts as |W| and |W + D| counts as a constant for the gradient (4.3). Lengths are per
input column, over the outputs and the kernel, as in the paper and as AUTOMATIC1111 1.10.1 reads `dora_scale`:
(1, inputs) or (1, inputs, 1, 1). LyCORIS by default writes one per output, which that host gets wrong.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pivotal.errors import FormatError
from pivotal.models.devices import without_autocast
from pivotal.networks.adapter import Parts


def column_lengths(weight: Tensor) -> Tensor:
    """(outputs, inputs[, kernel]) -> (inputs,), fp32."""
    return weight.float().transpose(0, 1).flatten(1).norm(dim=1)


def low_rank_lengths(weight: Tensor, down: Tensor, up: Tensor, squares: Tensor) -> Tensor:
    """`column_lengths(weight + up down)` without making that sum: |W|^2 + 2 <W, D> + |D|^2 per column.

    Args:
        weight: (outputs, inputs[, kernel]) in any format.
        down: (rank, inputs[, kernel]). up: (outputs, rank). Both fp32, the scale in one of them.
        squares: (inputs,), the squares of the weight's own lengths.
    """
    flat = down.flatten(1)
    if weight.element_size() == 1:
        weight = weight.to(torch.float16)  # hosts store weights in fp8, which nothing multiplies
    with without_autocast(weight.device):
        # In the weight's format: a copy in fp32 would be as large as the weight, and this term is small.
        met = (up.t().to(weight.dtype) @ weight.flatten(1)).float()
        added = (2 * met + (up.t() @ up) @ flat).mul_(flat).sum(0)
    return (squares + added.view(squares.shape[0], -1).sum(1)).clamp_min(1e-24).sqrt()


def resized(weight: Tensor, delta: Tensor, lengths: Tensor) -> Tensor:
    """W' - W, in the weight's shape; `lengths` (inputs,) are m.

    As D g + W (g - 1) with g = m / |W + D|, which is exactly zero at the start.
    """
    frozen = weight.detach().float()
    ratio = lengths / column_lengths(frozen + delta.detach())
    ratio = ratio.view(-1, *[1] * (weight.dim() - 2))
    return delta * ratio + frozen * (ratio - 1)


def written_lengths(lengths: Tensor, weight: Tensor) -> Tensor:
    """As files have them: (1, inputs) or (1, inputs, 1, 1)."""
    return lengths.detach().view(1, -1, *[1] * (weight.dim() - 2))


@torch.no_grad()
def take_lengths(lengths: nn.Parameter, parts: Parts, weight: Tensor) -> None:
    """Takes the lengths of a file; a file without them leaves its change as it was.

    Args:
        weight: the changed one, W + D.
    """
    if "dora_scale" not in parts:
        lengths.copy_(column_lengths(weight))
        return
    found = parts["dora_scale"]
    if found.shape[0] != 1 or found.numel() != lengths.numel():
        raise FormatError(f"dora_scale has the shape {tuple(found.shape)}, expected (1, {lengths.numel()}): a length per "
                          "input. Lengths per output (LyCORIS' wd_on_output) cannot be continued")
    lengths.copy_(found.reshape(-1).to(lengths))


def refuse_lengths(parts: Parts, *, is_on: bool) -> None:
    """Raises FormatError for a file with lengths where there is no place for them."""
    if "dora_scale" in parts and not is_on:
        raise FormatError("the file is of the DoRA kind (it has dora_scale); switch DoRA on to continue from it")
