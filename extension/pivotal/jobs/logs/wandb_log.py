"""A run's curves and samples at Weights & Biases, whose package is optional."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pivotal.config.derived import metadata
from pivotal.config.train import TrainConfig
from pivotal.errors import LogError
from pivotal.events import Event, Measured, Sampled, StepDone
from pivotal.formats.atomic import write_text
from pivotal.jobs.logs.numbers import numbers, sample_title

_NEEDS_NO_LOGIN = ("offline", "dryrun", "disabled")  # values of WANDB_MODE


class WandbLog:
    """One run of a project there; a resumed run goes on with its own.

    The key is the package's business: it is read from the environment or from `wandb login`, and written nowhere.

    Raises:
        LogError: nobody is logged in, or the service refuses.
    """

    name = "Weights & Biases"

    def __init__(self, project: str, config: TrainConfig, folder: Path, resumed: bool):
        import wandb
        from wandb.errors import Error

        self._error, self._image = Error, wandb.Image
        if not _is_logged_in() and os.environ.get("WANDB_MODE") not in _NEEDS_NO_LOGIN:
            raise LogError("nobody is logged in; run `wandb login`, or set WANDB_API_KEY for the WebUI")  # it would ask, and wait
        options = {key: value for key, value in metadata(config).items() if key.startswith("pivotal.")}  # no paths
        with self._refused():
            self._run = wandb.init(project=project, name=config.name, id=_identifier(folder, resumed), resume="allow",
                                   dir=str(folder), config=options,
                                   settings=wandb.Settings(console="off", disable_code=True, disable_git=True))

    def write(self, event: Event) -> None:
        if isinstance(event, (StepDone, Measured)):
            self._do(lambda: self._run.log(numbers(event), step=event.step))
        elif isinstance(event, Sampled):
            self._do(lambda: self._run.log({sample_title(event): self._image(str(event.path), caption=event.prompt)},
                                           step=event.step))

    def close(self) -> None:
        self._do(self._run.finish)

    def _do(self, work: Callable[[], Any]) -> None:
        with self._refused():
            work()

    @contextmanager
    def _refused(self) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            raise LogError(_without_key(" ".join(str(error).split()))) from None  # its traceback has the text, too


def _without_key(text: str) -> str:
    """Words of the service's package, which are shown and kept; what it says of a key may name it."""
    key = os.environ.get("WANDB_API_KEY", "").strip()
    return text.replace(key, "...") if len(key) >= 16 else text  # real ones have 40 signs and more


def _is_logged_in() -> bool:
    """Whether there is a key: in the environment, or in the file where `wandb login` puts it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    service = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    named = os.environ.get("NETRC")
    for path in [Path(named)] if named else [Path.home() / ".netrc", Path.home() / "_netrc"]:
        try:
            if netrc(str(path)).authenticators(service):
                return True
        except (OSError, NetrcParseError):
            continue
    return False


def _identifier(folder: Path, resumed: bool) -> str:
    """The run's name at the service: a new one, or that of the run that is resumed."""
    path = folder / "wandb.txt"
    if resumed and path.is_file():
        return path.read_text(encoding="utf-8").strip()
    identifier = uuid.uuid4().hex[:12]
    write_text(path, identifier)
    return identifier
