"""A sample prompt with kohya's flags: ``a cat --n blurry --w 640 --h 512 --d 7 --l 7.5 --s 30 --ss euler_a``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from pivotal.config.sections.output import Sampler

SMALLEST_SIDE, LARGEST_SIDE = 64, 4096  # px
_SAMPLERS = {"ddim": "DDIM", "euler": "Euler", "k_euler": "Euler", "euler_a": "Euler a", "k_euler_a": "Euler a",
             "dpmsolver++": "DPM++ 2M", "dpmsolver": "DPM++ 2M"}  # as kohya names them


@dataclass(frozen=True)
class SampleLine:
    """One prompt, and what it says for itself; None takes the run's."""

    prompt: str
    negative: str | None = None
    width: int | None = None  # px, a multiple of 8
    height: int | None = None  # px, a multiple of 8
    seed: int | None = None
    cfg_scale: float | None = None
    steps: int | None = None
    sampler: str | None = None


def sample_lines(lines: Sequence[str]) -> list[SampleLine]:
    """What `lines` ask for; those that begin with # are comments.

    Raises:
        ValueError: names the line and what is wrong with it.
    """
    found = []
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                found.append(sample_line(line))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
    return found


def sample_line(line: str) -> SampleLine:
    """One line. Flags are parted from the prompt and each other by " --", in either case (kohya, library/train_util.py).

    Raises:
        ValueError: a flag is unknown, twice there, or its value cannot be.
    """
    prompt, *flags = re.split(r"(?:^|\s)--(?=\w)", line.strip())
    made, seen = SampleLine(prompt.strip()), set()
    for flag in flags:
        name, _, value = flag.strip().partition(" ")
        name, value = name.lower(), value.strip()
        if name not in _FLAGS:
            raise ValueError(f"there is no flag --{name}; those are {', '.join('--' + known for known in _FLAGS)}")
        if name in seen:
            raise ValueError(f"--{name} stands there twice")
        seen.add(name)
        field, read = _FLAGS[name]
        try:
            made = replace(made, **{field: read(value)})
        except ValueError as error:
            raise ValueError(f"--{name}: {error}") from error
    return made


def _side(text: str) -> int:
    side = _whole(text)
    if not SMALLEST_SIDE <= side <= LARGEST_SIDE:
        raise ValueError(f"expected {SMALLEST_SIDE} to {LARGEST_SIDE} px, got {side}")
    return side // 8 * 8


def _whole(text: str) -> int:
    if not re.fullmatch(r"\d+", text):
        raise ValueError(f"expected a whole number, got {text!r}")
    return int(text)


def _seed(text: str) -> int:
    seed = _whole(text)
    if seed > 2**32 - 1:
        raise ValueError(f"expected at most {2**32 - 1}, got {seed}")
    return seed


def _steps(text: str) -> int:
    steps = _whole(text)
    if not 1 <= steps <= 150:
        raise ValueError(f"expected 1 to 150 steps, got {steps}")
    return steps


def _scale(text: str) -> float:
    try:
        scale = float(text)
    except ValueError:
        raise ValueError(f"expected a number, got {text!r}") from None
    if not 1 <= scale <= 30:
        raise ValueError(f"expected 1 to 30, got {text}")
    return scale


def _sampler(text: str) -> str:
    ours = {name.lower(): name for name in get_args(Sampler)}
    known = ours | _SAMPLERS
    if text.lower() not in known:
        raise ValueError(f"expected one of {', '.join(known)}; got {text!r}")
    return known[text.lower()]


_FLAGS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "n": ("negative", str), "w": ("width", _side), "h": ("height", _side), "d": ("seed", _seed), "l": ("cfg_scale", _scale),
    "s": ("steps", _steps), "ss": ("sampler", _sampler)}
