"""What is done when numbers go wrong, and how the device is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pivotal.config.options import option

_GOES_ON = ("guard.bad_step", ("skip", "precise"))


@dataclass(frozen=True)
class Guard:
    """What is done about a bad step: one whose loss, gradients or weights are not finite numbers. It never changes anything."""

    bad_step: Literal["skip", "precise", "stop"] = option(
        "skip", "What is done about a step whose numbers are not finite: leaves it out, tries it again in fp32 and goes on "
                "so, or ends the run.", label="On a bad step")
    in_a_row: int = option(5, "Ends the run after this many bad steps in a row.", ge=1, le=1000, label="Bad steps in a row",
                           shown_when=_GOES_ON)
    in_all: int = option(50, "Ends the run after this many bad steps in all.", ge=1, le=1_000_000, label="Bad steps in all",
                         shown_when=_GOES_ON)


@dataclass(frozen=True)
class Performance:
    """How the device is used; what is learned is the same but for rounding."""

    attention: Literal["auto", "flash", "efficient", "math"] = option(
        "auto", "How attention is computed. Auto is the fastest that suits; math is the plainest and needs most memory. What "
                "does not suit the device is computed by math.", label="Attention")
    averages_on_cpu: bool = option(
        False, "Keeps the average over the steps (EMA) in the computer's memory, not the graphics card's; a little slower.",
        label="Averages on the CPU")
