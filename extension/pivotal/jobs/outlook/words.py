"""An outlook in words, for the page and the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from pivotal.formats.kept_files import size_words
from pivotal.jobs.outlook.estimate import Disk
from pivotal.jobs.outlook.outlook import Outlook

_TIGHT = 0.9  # of the room that is free; above, a run may not fit


def time_lines(found: Outlook) -> Iterator[str]:
    """How long the run takes, where it was measured."""
    probed, spent = found.probed, found.times
    if probed is None:
        yield "How long it takes is not known yet: Measure does a few steps of it, and leaves everything as it was."
    elif not probed.fits:
        yield "Measured: the device ran out of memory at a step, so this run cannot be done as it is."
    elif spent is not None:
        parts = {"preparing": spent.preparing, "training": spent.training, "samples": spent.sampling,
                 "measurements": spent.measuring}
        told = ", ".join(f"{name} {duration(seconds)}" for name, seconds in parts.items() if seconds >= 0.5)
        yield (f"Measured on {probed.device}: {step_words(spent.step)}; the run takes about {duration(spent.total)}"
               f"{f' ({told})' if told else ''}.")


def memory_lines(found: Outlook) -> list[str]:
    """What the device must hold beside the host's own, as estimated and as measured."""
    parts = sorted(found.memory.parts.items(), key=lambda part: -part[1])
    told = ", ".join(f"{name} {size_words(size)}" for name, size in parts)
    where = "graphics card" if found.free is not None else "computer"
    line = f"Memory, estimated: {size_words(found.memory.total)} more than the host holds on the {where} ({told})"
    lines = [line + (f"; {size_words(found.free)} are free." if found.free is not None else ".")]
    if not found.memory.is_known:
        lines = ["Memory: this checkpoint is far smaller than others of its family, so there is no estimate; Measure tells."]
    if found.probed is not None and found.probed.peak is not None and found.probed.fits:
        lines.append(f"Memory, measured: {size_words(found.probed.peak)} more than before, at its most.")
    return lines


def is_tight(found: Outlook) -> bool:
    """Whether the run may need more than the graphics card has left."""
    measured = found.probed.peak if found.probed is not None else None
    estimated = found.memory.total if found.memory.is_known else 0
    return found.free is not None and (measured or estimated) > _TIGHT * found.free


def disk_line(found: Disk) -> str:
    """What is written, and the room there is."""
    told = ", ".join(f"{name} {size_words(size)}" for name, size in found.parts.items())
    return f"Disk: {size_words(found.total)} at most ({told}); {size_words(found.free)} are free."


def step_words(seconds: float) -> str:
    """``1.3 s a step``, or ``12 steps a second``."""
    return f"{seconds:.2g} s a step" if seconds >= 0.5 else f"{1 / seconds:.3g} steps a second" if seconds else "no time a step"


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
