"""The folders of images that the user has opened, and the long work on them; what the page and the API speak to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from pivotal.errors import DatasetError, OptionError
from pivotal.hosts.captioning import Captioning
from pivotal.hosts.protocol import Host, PromptContext
from pivotal.prompts.counting import count_tokens
from pivotal.tools.dataset.captioners import Describe, captioner
from pivotal.tools.dataset.filters import Filter
from pivotal.tools.dataset.journal import Undone
from pivotal.tools.dataset.mask_making import mask_maker
from pivotal.tools.dataset.opened import Opened
from pivotal.tools.dataset.places import open_place
from pivotal.tools.dataset.prepare import preparer, target_folder
from pivotal.tools.dataset.settings import CaptionImages, MaskImages, PrepareImages
from pivotal.tools.dataset.work import Step, Work

_MOST_OPEN = 8  # folders; the one that was opened first is forgotten
_FRESH_S = 30.0  # for which the host's list of embeddings is taken as known
OWN_CAPTIONERS = ("BLIP", "WD14")


class Datasets:
    """One for the process. Only folders that were opened here are read or written."""

    def __init__(self, host: Host, occupy: Callable[[str], Callable[[], None]]):
        """`occupy` keeps runs off the device until what it returns is called; it raises PivotalError while one goes on that is
        not paused."""
        self._host, self._occupy = host, occupy
        self._lock = threading.Lock()
        self._opened: dict[str, Opened] = {}
        self._context: tuple[float, PromptContext] | None = None
        self.work = Work()
        self._is_at_host = threading.Event()

    def open(self, where: str, *, subfolders: bool = False, ending: str = "") -> Opened:
        """The folder that the user typed, looked at anew.

        Raises:
            DatasetError: there is none, or it cannot be read.
        """
        place = open_place(where, subfolders=subfolders, ending=ending)
        with self._lock:
            known = self._opened.get(str(place.folder))
        if known is not None and known.place == place:
            known.refresh()
        made = known if known is not None and known.place == place else Opened(place, self._host.folders().scratch, self._count)
        with self._lock:
            self._opened.pop(str(place.folder), None)
            self._opened[str(place.folder)] = made
            while len(self._opened) > _MOST_OPEN:
                self._opened.pop(next(iter(self._opened)))
        return made

    def get(self, folder: str) -> Opened:
        """A folder that is open, by the path that `open` gave it.

        Raises:
            DatasetError: it is not.
        """
        with self._lock:
            if folder not in self._opened:
                raise DatasetError(f"{folder[:300]!r} is not open; open it first.")
            return self._opened[folder]

    def newest(self) -> Opened | None:
        """The folder that was opened last."""
        with self._lock:
            return next(reversed(self._opened.values()), None)

    def captioners(self) -> list[str]:
        """Names of what can write captions here: the host's own first."""
        return [*self._of_host(), *OWN_CAPTIONERS]

    def _of_host(self) -> Mapping[str, Describe]:
        return self._host.captioners() if isinstance(self._host, Captioning) else {}

    # --- long work: started here, watched at `work`

    def write_captions(self, opened: Opened, settings: CaptionImages, name: str, filter: Filter) -> None:
        """Starts writing captions for the images that `filter` lets through.

        Raises:
            PivotalError: there is no such captioner, or other work is going on.
        """
        if name not in self.captioners():
            raise OptionError({"captioner": f"there is no {name!r} here; there are {', '.join(self.captioners())}"})

        @contextmanager
        def ready() -> Iterator[Step]:
            with (captioner(settings, self._of_host(), name) as describe,
                  opened.captions.describing(describe, settings.place) as step):
                yield step

        self._start(f"Writing captions with {name}", opened, filter, lambda: self._at_the_host(ready))

    def make_masks(self, opened: Opened, settings: MaskImages, filter: Filter) -> None:
        """Starts making masks for the images that `filter` lets through.

        Raises:
            PivotalError: other work is going on.
        """
        @contextmanager
        def ready() -> Iterator[Step]:
            with mask_maker(settings, opened.place) as make, opened.masking(make) as step:
                yield step

        is_network = settings.how in ("words", "rembg")
        self._start("Making masks", opened, filter, (lambda: self._at_the_host(ready)) if is_network else ready)

    def leave_the_host(self) -> None:
        """Stops the work that keeps a paused run waiting; other work goes on."""
        if self._is_at_host.is_set():
            self.work.stop()

    def undo_masks(self, opened: Opened) -> Undone:
        """Takes the last automatic masks of a folder back.

        Raises:
            PivotalError: there are none, or work is going on that may be making some.
        """
        self.work.refuse()
        return opened.undo_masks()

    def prepare(self, opened: Opened, settings: PrepareImages, filter: Filter) -> Path:
        """Starts writing cut copies of the images that `filter` lets through; the folder they go to.

        Raises:
            PivotalError: the folder cannot be used, or other work is going on.
        """
        folder = target_folder(settings, opened.place)
        self._start("Cutting images", opened, filter, lambda: preparer(settings, opened.place))
        return folder

    def compare(self, opened: Opened) -> None:
        """Starts looking for images that are nearly the same, or damaged.

        Raises:
            PivotalError: other work is going on.
        """
        self._start("Comparing images", opened, Filter(), opened.comparing)

    def _start(self, title: str, opened: Opened, filter: Filter, ready: Callable[[], AbstractContextManager[Step]]) -> None:
        names = [image.name for image in opened.shown.chosen(filter)]
        if not names:
            raise DatasetError("No image is shown, so there is nothing to do; choose another filter.")
        self.work.start(title, names, ready)

    @contextmanager
    def _at_the_host(self, ready: Callable[[], AbstractContextManager[Step]]) -> Iterator[Step]:
        """Each image in a turn of its own at the device, so that prompts come between; and no run meanwhile."""
        with ExitStack() as stack:
            stack.callback(self._occupy("Looking at a dataset's images"))
            stack.callback(self._is_at_host.clear)
            self._is_at_host.set()
            step = self._host.run(lambda: stack.enter_context(ready()))
            yield lambda name: self._host.run(lambda: step(name))

    def _count(self, text: str) -> int:
        """Tokens of a caption as the host counts them; 0 while it has no tokenizer."""
        now = time.monotonic()
        if self._context is None or now - self._context[0] > _FRESH_S:
            self._context = (now, self._host.prompt_context())
        context = self._context[1]
        return count_tokens(text, context.encoders, context.embeddings, kind="caption")["count"] if context.encoders else 0
