"""What the logs write of an event."""

from __future__ import annotations

from pivotal.events import Event, Measured, Sampled, StepDone


def numbers(event: Event) -> dict[str, float]:
    """Curves by name, and the points that `event` adds to them."""
    if isinstance(event, StepDone):
        return {"loss/step": event.loss, "loss/smooth": event.smooth_loss, "time/seconds_per_step": event.seconds,
                **{f"rate/{name}": rate for name, rate in event.rates.items()}}
    if isinstance(event, Measured):
        return {"measured/error": event.error, **{f"measured/timestep_{at}": error for at, error in event.by_timestep.items()},
                **{f"measured/concept_{name}": error for name, error in event.by_concept.items()}}
    return {}


def sample_title(event: Sampled) -> str:
    """Under what a sample is shown."""
    return f"sample/{event.prompt[:80]}{' (raw)' if event.raw else ''}" + ("" if event.seed is None else f" {event.seed}")
