"""Draws a comparison in a thread of its own, in the place of a run, and shows how far it is."""

from __future__ import annotations

import io
import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from PIL.PngImagePlugin import PngInfo

from pivotal.errors import FormatError, PivotalError
from pivotal.formats.atomic import write_bytes
from pivotal.hosts.protocol import Host
from pivotal.jobs.comparison.draw import Cell, Drawing
from pivotal.jobs.comparison.keep import Kept, keep_only
from pivotal.jobs.comparison.plan import Column, ComparePlan, key_of, make_compare_plan
from pivotal.jobs.comparison.record import read_record, write_record
from pivotal.jobs.comparison.saves import Save, fresh_folder
from pivotal.jobs.memory import is_out_of_memory, let_go
from pivotal.models.diffusion import DiffusionModel

log = logging.getLogger(__name__)

WHAT = "A comparison"
_ENDED = "The WebUI was ended while it was drawn."


class Occupy(Protocol):
    """Takes a run's place until what it returns is called (Desk.occupy)."""

    def __call__(self, what: str, *, in_pause: bool = False) -> Callable[[], None]: ...


@dataclass(frozen=True)
class CompareView:
    """What the page and the API show of a comparison; frozen, so any thread may read it."""

    id: str = ""
    state: Literal["idle", "running", "stopping", "finished", "stopped", "failed"] = "idle"
    title: str = ""
    run: str = ""  # whose saves are compared; empty for files alone
    rows: tuple[Save, ...] = ()
    columns: tuple[Column, ...] = ()
    images: tuple[tuple[Path | None, ...], ...] = ()  # by row and column
    done: int = 0
    of: int = 0
    seconds: float = 0.0
    waiting: bool = False  # for the host's lock
    notices: tuple[str, ...] = ()
    message: str = ""
    folder: Path | None = None  # of the images; None before the first
    kept: Kept | None = None  # what became of the run's files afterwards
    version: int = 0

    @property
    def is_going_on(self) -> bool:
        return self.state in ("running", "stopping")


class Comparisons:
    """One comparison at a time, and none beside a run that is not paused."""

    def __init__(self, host: Host, occupy: Occupy):
        self.host, self._occupy = host, occupy
        self._guard = threading.Lock()
        self._view = CompareView()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._looked = False  # whether the disk was asked for the last one

    def view(self) -> CompareView:
        """The latest comparison as it is now, also that of before a restart."""
        if not self._looked:
            with self._guard:
                if not self._looked and not self._view.id:
                    self._view = _restored(read_record(self.host.folders(), CompareView)) or self._view
                self._looked = True
        return self._view

    def start(self, flat: Mapping[str, Any]) -> str:
        """Starts drawing and returns the comparison's id.

        Raises:
            OptionError: with every problem by key.
            PivotalError: a run, or another comparison, is going on.
        """
        plan = make_compare_plan(flat, self.host.folders())
        leave = self._occupy(WHAT, in_pause=True)
        identifier = uuid.uuid4().hex[:12]
        self._stop.clear()
        with self._guard:
            self._view = CompareView(
                identifier, "running", plan.title, plan.run, plan.rows, plan.columns,
                tuple((None,) * len(plan.columns) for _ in plan.rows), 0, plan.images, waiting=True,
                version=self._view.version + 1)
            self._looked = True
        self._thread = threading.Thread(target=self._work, args=(plan, leave), name="pivotal-compare", daemon=True)
        self._thread.start()
        return identifier

    def stop(self) -> None:
        """Ends the comparison; the images that are drawn stay."""
        with self._guard:
            if self._view.state == "running":
                self._stop.set()
                self._view = replace(self._view, state="stopping", version=self._view.version + 1)

    def wait(self, timeout: float | None = None) -> CompareView:
        """Waits for the end of the comparison; the view then."""
        if self._thread is not None:
            self._thread.join(timeout)
        return self._view

    def keep(self, run: str, name: str, *, rename: bool = True) -> Kept:
        """Keeps one save of a run and puts its others away.

        Raises:
            OptionError: there is no such run or save.
            PivotalError: a run or a comparison is going on, or a file cannot be moved.
        """
        leave = self._occupy("Putting files away")
        try:
            kept = keep_only(self.host, run, name, rename=rename)
        finally:
            leave()
        if self.view().run == run:
            self._change(kept=kept)
            write_record(self.host.folders(), self._view)
        return kept

    def _change(self, **changes: Any) -> None:
        with self._guard:
            self._view = replace(self._view, version=self._view.version + 1, **changes)

    def _work(self, plan: ComparePlan, leave: Callable[[], None]) -> None:
        """A door where every error ends: the traceback goes to the log, its first line to whoever watches."""
        started = time.monotonic()
        try:
            whole = self.host.run(lambda: self._borrowed(plan))
            self._change(state="finished" if whole else "stopped", seconds=time.monotonic() - started)
        except PivotalError as error:
            self._fail(str(error))
        except OSError as error:
            self._fail(f"An image could not be written: {error.strerror or error}.")
        except Exception as error:
            if is_out_of_memory(error):
                log.error("out of memory", exc_info=error)
                let_go(error)
                self._fail("The device ran out of memory; a smaller size needs less.")
                return
            log.error("the comparison failed", exc_info=error)
            self._fail(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'} "
                       "(the log has the whole traceback)")
        finally:
            leave()  # before what needs a folder that may be gone
            write_record(self.host.folders(), self._view)

    def _fail(self, message: str) -> None:
        self._change(state="failed", message=message, waiting=False)

    def _borrowed(self, plan: ComparePlan) -> bool:
        """Draws everything; whether nothing is left out."""
        self._change(waiting=False)
        checkpoint = self.host.checkpoint()
        with self.host.borrow("") as model:
            return self._drawn(plan, model, checkpoint.name if checkpoint else "")

    def _drawn(self, plan: ComparePlan, model: DiffusionModel, checkpoint: str) -> bool:
        drawing = Drawing(model, self.host.folders(), checkpoint, plan.rows)
        folder = fresh_folder(plan.folder)
        log.info("Comparing %s: %d images, into %s", plan.title, plan.images, folder)
        for row in range(len(plan.rows)):
            try:
                if not self._draw_row(plan, row, drawing, folder):
                    return False
            except FormatError as error:  # the other files may be good
                drawing.notices.append(f"{plan.rows[row].label} is left out. {error}")
                self._change(of=self._view.done + plan.images_from(row + 1), notices=tuple(drawing.notices))
        if not self._view.done:
            raise FormatError("None of the files could be used.")
        return True

    def _draw_row(self, plan: ComparePlan, row: int, drawing: Drawing, folder: Path) -> bool:
        """Draws a save's images; whether nothing is left out.

        Raises:
            FormatError: a file of it cannot be used.
        """
        save = plan.rows[row]
        known: dict[Column, Path] = {}  # what looks the same at every strength is drawn once
        for index in by_strength(plan.columns):
            column = plan.columns[index]
            key = key_of(save, column)
            if key not in known:
                if self._should_end():
                    return False
                cell = drawing.draw(save, column, self._should_stop)
                if cell is None:
                    return False
                known[key] = folder / f"{row:02d}-{save.name or 'without'}-{index:02d}-seed-{column.seed}.png"
                write_cell(cell, known[key])
                self._change(done=self._view.done + 1, notices=tuple(drawing.notices), folder=folder)
                if plan.let_prompts_through:
                    self.host.let_through()
            self._show(row, index, known[key])
        write_record(self.host.folders(), self._view)
        return True

    def _show(self, row: int, column: int, path: Path) -> None:
        images = [list(line) for line in self._view.images]
        images[row][column] = path
        self._change(images=tuple(map(tuple, images)))

    def _should_stop(self) -> bool:
        return self._stop.is_set() or self.host.stop_requested()

    def _should_end(self) -> bool:
        """Also when the host did something to the model since it was lent, which is told."""
        change = self.host.changed()
        if change is not None:
            self._change(message=f"{change} The comparison ends here.")
        return change is not None or self._should_stop()


def _restored(view: CompareView | None) -> CompareView | None:
    """A comparison of an earlier process, as it can be shown: without images that are gone, and over."""
    if view is None:
        return None
    images = tuple(tuple(path if path and path.is_file() else None for path in line) for line in view.images)
    whole = len(images) == len(view.rows) and all(len(line) == len(view.columns) for line in images)
    if not whole or not any(any(line) for line in images):
        return None
    return replace(view, images=images, version=1, waiting=False, **(
        {"state": "stopped", "message": _ENDED} if view.is_going_on else {}))


def by_strength(columns: tuple[Column, ...]) -> list[int]:
    """The columns' numbers, those of one strength together: so a network is made ready once for each."""
    return sorted(range(len(columns)), key=lambda index: columns[index].strength or 0.0)


def write_cell(cell: Cell, path: Path) -> None:
    """Writes an image with its prompt in the text chunk where hosts look for it."""
    info = PngInfo()
    info.add_text("parameters", cell.parameters)
    buffer = io.BytesIO()
    cell.image.save(buffer, "PNG", pnginfo=info)
    write_bytes(path, buffer.getvalue())
