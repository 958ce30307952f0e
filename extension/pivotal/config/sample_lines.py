"""A sample prompt with kohya's flags: ``a cat --n blurry --w 640 --h 512 --d 7 --l 7.5 --s 30 --ss euler_a``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from pivotal.config.options import option
from pivotal.config.sections.output import Sampler

OFF = "#"  # begins a line that is left out: a comment, or a prompt that is switched off
SMALLEST_SIDE, LARGEST_SIDE = 64, 4096  # px
MOST_STEPS, LARGEST_SEED, LARGEST_SCALE = 150, 2**32 - 1, 30
_SAMPLERS = {"ddim": "DDIM", "euler": "Euler", "k_euler": "Euler", "euler_a": "Euler a", "k_euler_a": "Euler a",
             "dpmsolver++": "DPM++ 2M", "dpmsolver": "DPM++ 2M"}  # as kohya names them


@dataclass(frozen=True)
class SampleLine:
    """One prompt, and what it says for itself; None takes the run's."""

    prompt: str = option("", "What is drawn; a placeholder stands for its embedding.", tokens="prompt", first_page=True)
    negative: str | None = option(None, "What it shall not show. Empty: as the run.", tokens="prompt", label="Negative prompt",
                                  first_page=True)
    width: int | None = option(None, "Rounded down to a multiple of 8. Empty: as the run.", ge=SMALLEST_SIDE, le=LARGEST_SIDE,
                               unit="px", first_page=True)
    height: int | None = option(None, "Rounded down to a multiple of 8. Empty: as the run.", ge=SMALLEST_SIDE, le=LARGEST_SIDE,
                                unit="px", first_page=True)
    seed: int | None = option(None, "Drawn from this seed every time. Empty: as the run.", ge=0, le=LARGEST_SEED, first_page=True)
    cfg_scale: float | None = option(None, "How strongly the prompt guides. Empty: as the run.", ge=1, le=LARGEST_SCALE,
                                     label="CFG scale", first_page=True)
    steps: int | None = option(None, "Number of sampling steps. Empty: as the run.", ge=1, le=MOST_STEPS,
                              first_page=True)
    sampler: Sampler | None = option(None, "Sampler of this prompt.", first_page=True)


def sample_lines(lines: Sequence[str]) -> list[SampleLine]:
    """What `lines` ask for; those that begin with # are left out.

    Raises:
        ValueError: names the line and what is wrong with it.
    """
    found = []
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.lstrip().startswith(OFF):
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
    if seed > LARGEST_SEED:
        raise ValueError(f"expected at most {LARGEST_SEED}, got {seed}")
    return seed


def _steps(text: str) -> int:
    steps = _whole(text)
    if not 1 <= steps <= MOST_STEPS:
        raise ValueError(f"expected 1 to {MOST_STEPS} steps, got {steps}")
    return steps


def _scale(text: str) -> float:
    try:
        scale = float(text)
    except ValueError:
        raise ValueError(f"expected a number, got {text!r}") from None
    if not 1 <= scale <= LARGEST_SCALE:
        raise ValueError(f"expected 1 to {LARGEST_SCALE}, got {text}")
    return scale


def _sampler(text: str) -> str:
    known = sampler_names()
    if text.lower() not in known:
        raise ValueError(f"expected one of {', '.join(known)}; got {text!r}")
    return known[text.lower()]


def sampler_names() -> dict[str, str]:
    """Ours by every name that --ss takes, in small letters."""
    return {name.lower(): name for name in get_args(Sampler)} | _SAMPLERS


def flags() -> dict[str, str]:
    """The fields of a line that have a flag, and that flag without its dashes."""
    return {field: flag for flag, (field, _) in _FLAGS.items()}


_FLAGS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "n": ("negative", str), "w": ("width", _side), "h": ("height", _side), "d": ("seed", _seed), "l": ("cfg_scale", _scale),
    "s": ("steps", _steps), "ss": ("sampler", _sampler)}
