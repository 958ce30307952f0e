"""Muon: momentum whose matrix update is orthogonalised (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

AdamW needed 400 steps for the autoencoder's L1 of .078, this 120: a coherent AdamW step moves every one of 1728 inputs
of a convolution the same way and upsets the closed-form start, an orthogonal one is bounded by its spectral norm.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def orthogonalised(matrix: Tensor) -> Tensor:
    """(m, n) float32 with all singular values near 1: five Newton-Schulz steps in bf16, Jordan's coefficients."""
    work = matrix.bfloat16()
    work = work / (work.norm() + 1e-7)
    is_tall = work.shape[0] > work.shape[1]
    work = work.T if is_tall else work
    for _ in range(5):
        gram = work @ work.T
        work = 3.4445 * work + (-4.7750 * gram + 2.0315 * gram @ gram) @ work
    return (work.T if is_tall else work).float()


class Muon(Optimizer):
    """For weights of two or more dimensions; a convolution counts as (out, in * k * k)."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95):
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(state["momentum"], group["momentum"]).flatten(1)
                scale = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
                parameter.add_(orthogonalised(update).view_as(parameter), alpha=-group["lr"] * scale)
