"""What one adapted layer is told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerSettings:
    """The settings of one layer's adapter; each method reads those that it knows (`methods.supports`)."""

    rank: int  # of the change; the size of a block in OFT and BOFT
    alpha: float  # the change is scaled by alpha / rank
    rank_stabilized: bool = False  # by alpha / sqrt(rank) instead
    dropout: float = 0.0  # share of the values between down and up that a step leaves out
    rank_dropout: float = 0.0  # share of the ranks that a step leaves out, per sample
    module_dropout: float = 0.0  # how often a step leaves the whole layer as it was
    dora: bool = False  # learn a length per column, too
    factor: int | None = None  # LoKr: largest size of the small matrix; None is as near to square as can be
    unit: int = 1  # DyLoRA: ranks that are trained together
    constraint: float = 0.0  # OFT and BOFT: how far the rotation may go; 0 is free
    rate: float = 1.0  # of learning, relative to the network's
    train_bias: bool = True  # full: also the bias

    @property
    def scale(self) -> float:
        """What the change is multiplied by: alpha / rank (arXiv:2106.09685, 4.1) or alpha / sqrt(rank) (arXiv:2312.03732)."""
        return self.file_alpha / self.rank

    @property
    def file_alpha(self) -> float:
        """The alpha with which a reader that computes alpha / rank gets `scale`."""
        return self.alpha * self.rank ** 0.5 if self.rank_stabilized else self.alpha
