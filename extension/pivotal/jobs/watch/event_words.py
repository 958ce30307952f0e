"""Events in words, for logs and terminals."""

from __future__ import annotations

from pivotal.events import (
    Discarded,
    Event,
    Failed,
    Finished,
    Measured,
    Noticed,
    Paused,
    Phase,
    Planned,
    Resumed,
    Sampled,
    Saved,
    Started,
)
from pivotal.jobs.watch.plan_words import plan_lines


def words(event: Event) -> str:
    """A line for the log, or several; empty for events that come too often."""
    if isinstance(event, Planned):
        return "\n".join(plan_lines(event))
    if isinstance(event, Started):
        resumed = f", resumed at step {event.first_step}" if event.first_step else ""
        return (f"Training on {event.checkpoint}: {event.images} images, {event.steps} steps of {event.batch} images"
                f"{resumed}.")
    if isinstance(event, Phase) and event.done == 0 and event.name in ("waiting", "loading", "caching", "saving"):
        return {"waiting": "Waiting for the host.", "loading": "Borrowing the checkpoint.",
                "caching": f"Encoding {event.of} images.", "saving": "Saving."}[event.name]
    if isinstance(event, Measured):
        which = " on held-out images" if event.held_out else ""
        return f"Step {event.step}: error{which} {event.error:.5g}{', the best so far' if event.best else ''}."
    if isinstance(event, Sampled):
        return f"Step {event.step}: drew {event.prompt!r}."
    if isinstance(event, Saved):
        return f"Step {event.step}: wrote {'the state' if event.kind == 'state' else event.path}."
    if isinstance(event, Noticed):
        return event.text
    if isinstance(event, Paused):
        return f"Paused after {event.step} steps; the model is the host's again."
    if isinstance(event, Resumed):
        return f"Resumed after {event.step} steps."
    if isinstance(event, Discarded):
        return discarded_words(event)
    if isinstance(event, Failed):
        return f"Failed: {event.message}"
    if isinstance(event, Finished):
        return f"{'Stopped' if event.stopped else 'Finished'} after {event.step} steps, {event.seconds:.0f} s."
    return ""


def discarded_words(event: Discarded) -> str:
    """``Discarded: 3 files are deleted, 1 older one is back.``"""
    def counted(count: int, one: str, many: str) -> str:
        return f"1 {one}" if count == 1 else f"{count} {many}"

    back = f", {counted(len(event.restored), 'older one is', 'older ones are')} back" if event.restored else ""
    left = f" {', '.join(path.name for path in event.left)} could not be deleted, or was changed since." if event.left else ""
    return f"Discarded: {counted(len(event.removed), 'file is', 'files are')} deleted{back}.{left}"
