"""The one family of errors that a user may cause; each says what, the value seen, and what to do."""

from __future__ import annotations

from collections.abc import Mapping


class PivotalError(Exception):
    """Something a user can understand and mend; its text is shown as it is."""


class OptionError(PivotalError):
    """Every bad option of a run at once, each under its dotted key (``embeddings.0.placeholder``)."""

    def __init__(self, problems: Mapping[str, str]):
        self.problems = dict(problems)
        super().__init__("\n".join(f"{key}: {text}" for key, text in self.problems.items()))


class DatasetError(PivotalError):
    """The images or captions cannot be used."""


class HostError(PivotalError):
    """The host cannot lend what was asked for."""


class FormatError(PivotalError):
    """A file is not what its name promises."""


class TrainingError(PivotalError):
    """A run cannot go on, for instance because its loss is not a number."""


class LogError(PivotalError):
    """A log cannot be written; no run ends by it."""


class QueueError(PivotalError):
    """The queue's file cannot be used now, or what was asked of the queue cannot be."""
