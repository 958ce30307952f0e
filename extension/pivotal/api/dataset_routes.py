"""A folder's images: shown, captioned, checked, masked and cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool

from pivotal.api.fields import LONGEST_PATH, Field, declared, flag, or_null, text
from pivotal.api.http import Asked, Endpoint, Refused, Route, Served
from pivotal.config.build import build
from pivotal.config.options import walk
from pivotal.errors import OptionError, PivotalError
from pivotal.jobs.signed import sign
from pivotal.tools.dataset.changes import Change
from pivotal.tools.dataset.datasets import OWN_CAPTIONERS, Datasets
from pivotal.tools.dataset.filters import KINDS, filter_from, number
from pivotal.tools.dataset.journal import Undone
from pivotal.tools.dataset.mask_files import delete_mask, save_painted
from pivotal.tools.dataset.opened import Opened
from pivotal.tools.dataset.settings import CaptionImages, EditCaptions, MaskImages, PrepareImages
from pivotal.tools.dataset.work import WorkView

T = TypeVar("T")
_LONGEST_CAPTION, _LONGEST_MASK = 1_000_000, 64_000_000  # characters
_MOST_SHOWN = 500  # images in one answer
_EXAMPLES = 3
_LINE = {"name": str, "width": int, "height": int, "caption": str | None, "tokens": int, "trouble": str | None, "same": list[str],
         "near": list[str], "thumbnail": str | None, "image": str | None, "mask": str | None}


def _number(name: str, default: int, help: str = "") -> Field:
    """A whole number above 0, or its digits as a page's field has them; filters.py checks it."""
    return Field(name, help or f"{default} where it is left out.", {"type": ["integer", "string", "null"], "default": default},
                 checked=False)


_FILTER = (Field("filter", f"One of {', '.join(filter(None, KINDS))}; empty is all.", {"type": ["string", "null"]},
                 checked=False),
           text("search", "Words in name or caption.", LONGEST_PATH), text("tag", "A tag of the caption.", LONGEST_PATH),
           _number("least", 512, "px, shorter side of an image that is not too small."),
           _number("tokens", 75, "Longest caption that is not cut."))


def _tool(section: type, *without: str) -> tuple[Field, ...]:
    return declared(section, ("folder", "subfolders", "ending", *without))


def _of_folder(path: str, endpoint: Endpoint, answers: Any, body: tuple[Field, ...] = (),
               refuses: tuple[int, ...] = ()) -> Route:
    """About a folder that is open."""
    folder = text("folder", "A folder that is open, as opening it has named it.", LONGEST_PATH, required=True)
    return Route(f"/dataset{path}", "POST", endpoint, answers, (folder, *body), refuses=(422, *refuses))



class DatasetRoutes:
    """Every request but `open` names a folder that is open, and images in it; nothing else can be reached."""

    def __init__(self, datasets: Datasets):
        self.datasets = datasets

    def all(self) -> Served:
        """What is served here."""
        name = text("name", "The image's file, as the list of images has it.", LONGEST_PATH, required=True)
        ending = text("ending", "Ending of caption files; empty takes what most of the folder's end in.", 20)
        where = text("folder", "A folder of images.", LONGEST_PATH, required=True)
        captioner = text("captioner", "What writes them: one of those that opening the folder has told.", 100,
                         default=OWN_CAPTIONERS[0])
        words = (text("text", "The caption.", _LONGEST_CAPTION, required=True),
                 or_null(text("old", "What it was when it was read: one that is another by now is not written over.",
                              _LONGEST_CAPTION)))
        png = text("png", "The mask: a PNG in base64.", _LONGEST_MASK, required=True)
        told, begun = {"text": str}, {"text": str, "state": str}
        return [
            Route("/dataset/open", "POST", self.open,
                  {"folder": str, "ending": str, "images": int, "captioners": list[str], "text": str},
                  (where, flag("subfolders", "Takes the images in subfolders, too."), ending), refuses=(422,)),
            _of_folder("/images", self.images, {"images": [_LINE], "found": int, "counts": dict[str, int], "uncounted": int,
                                                "undo": str}, (*_FILTER, _number("page", 1), _number("size", 50))),
            _of_folder("/tags", self.tags, {"tags": [{"tag": str, "count": int}]}, _FILTER),
            _of_folder("/caption", self.caption, _LINE, (name, *words)),
            _of_folder("/change", self.change, {**told, "changed": int, "looked_at": int}, (*_tool(EditCaptions), *_FILTER)),
            _of_folder("/undo", self.undo, {**told, "back": list[str], "left": list[str]}),
            _of_folder("/compare", self.compare, begun, refuses=(409,)),
            _of_folder("/mask", self.mask, {**told, **_LINE}, (name, png)),
            _of_folder("/masks/undo", self.undo_masks, {**told, "back": list[str], "left": list[str]}),
            _of_folder("/mask/delete", self.delete_mask, {**told, **_LINE}, (name,)),
            _of_folder("/captions", self.captions, begun, (captioner, *_tool(CaptionImages, "captioner"), *_FILTER), (409,)),
            _of_folder("/masks", self.masks, begun, (*_tool(MaskImages), *_FILTER), (409,)),
            _of_folder("/prepare", self.prepare, begun, (*_tool(PrepareImages), *_FILTER), (409,)),
            Route("/dataset/work", "GET", self.work, WorkView),
            Route("/dataset/work/stop", "POST", self.stop, {"state": str}),
        ]

    async def open(self, asked: Asked) -> Any:
        """Opens a folder and answers its own name, for all other requests."""
        body = asked.body

        def look() -> dict[str, Any]:
            opened = self.datasets.open(body["folder"], subfolders=body["subfolders"], ending=body["ending"])
            count = len(opened.images())
            return {"folder": str(opened.place.folder), "ending": opened.place.ending, "images": count,
                    "captioners": self.datasets.captioners(), "text": "" if count else "There is no image in this folder."}

        return await run_in_threadpool(look)

    async def images(self, asked: Asked) -> Any:
        """The images of a page, and how many there are of each kind."""
        body, opened = self._opened(asked)
        chosen_by = filter_from(body)
        page, size = number(body, "page", 1, 1, 1_000_000), number(body, "size", 50, 1, _MOST_SHOWN)

        def shown() -> dict[str, Any]:
            chosen = opened.shown.chosen(chosen_by)
            lines = [_line(opened, image.name) for image in chosen[(page - 1) * size:page * size]]
            uncounted = opened.shown.count_more()  # before the counts, which are of what is known
            return {"images": lines, "found": len(chosen), "counts": opened.shown.counts(chosen_by), "uncounted": uncounted,
                    "undo": opened.captions.undoes}

        return await run_in_threadpool(shown)

    async def tags(self, asked: Asked) -> Any:
        """In how many captions each tag stands."""
        body, opened = self._opened(asked)
        found = await run_in_threadpool(opened.shown.tags, filter_from(body))
        return {"tags": [{"tag": tag, "count": count} for tag, count in found]}

    async def caption(self, asked: Asked) -> Any:
        """Writes one caption."""
        _, opened = self._opened(asked)
        name, words, old = asked.body["name"], asked.body["text"], asked.sent.get("old")

        def save() -> dict[str, Any]:
            opened.captions.save(name, words, old)
            return _line(opened, name)

        return await run_in_threadpool(save)

    async def change(self, asked: Asked) -> Any:
        """Changes many captions, or tells how many would change."""
        body, opened = self._opened(asked)
        settings = settings_in(EditCaptions, body)
        change = Change(settings.action, settings.find, settings.text, settings.is_regular, settings.any_case)
        do = opened.captions.preview if settings.preview else opened.captions.apply
        made = await run_in_threadpool(do, change, filter_from(body))
        examples = [f"{one.name}: {_short(one.old)} → {_short(one.new)}" for one in made.changes[:_EXAMPLES]]
        verb = "would change" if settings.preview else "changed"
        text = "\n".join([f"{len(made.changes)} of {made.looked_at} captions {verb}.", *examples])
        return {"text": text, "changed": len(made.changes), "looked_at": made.looked_at}

    async def undo(self, asked: Asked) -> Any:
        """Takes the last change of captions back."""
        _, opened = self._opened(asked)
        return _undone(await run_in_threadpool(opened.captions.undo), "captions")

    async def undo_masks(self, asked: Asked) -> Any:
        """Puts the masks back that the last automatic ones replaced."""
        _, opened = self._opened(asked)
        return _undone(await run_in_threadpool(self.datasets.undo_masks, opened), "masks")

    async def compare(self, asked: Asked) -> Any:
        """Starts looking for images that are damaged or nearly the same."""
        _, opened = self._opened(asked)
        return await self._started(lambda: self.datasets.compare(opened))

    async def mask(self, asked: Asked) -> Any:
        """Writes a painted mask beside its image."""
        _, opened = self._opened(asked)
        name, png = asked.body["name"], asked.body["png"]

        def save() -> dict[str, Any]:
            path = save_painted(opened.place, name, png)
            opened.renew([name])
            return {"text": f"{path.name} is written.", **_line(opened, name)}

        return await run_in_threadpool(save)

    async def delete_mask(self, asked: Asked) -> Any:
        """Deletes an image's mask."""
        _, opened = self._opened(asked)
        name = asked.body["name"]

        def delete() -> dict[str, Any]:
            delete_mask(opened.place, name)
            opened.renew([name])
            return {"text": "The mask is deleted.", **_line(opened, name)}

        return await run_in_threadpool(delete)

    async def captions(self, asked: Asked) -> Any:
        """Starts writing captions for the images that the filter lets through."""
        body, opened = self._opened(asked)
        name = asked.body["captioner"]
        settings = settings_in(CaptionImages, {key: value for key, value in body.items() if key != "captioner"})
        return await self._started(lambda: self.datasets.write_captions(opened, settings, name, filter_from(body)))

    async def masks(self, asked: Asked) -> Any:
        """Starts making masks for the images that the filter lets through."""
        body, opened = self._opened(asked)
        settings = settings_in(MaskImages, body)
        return await self._started(lambda: self.datasets.make_masks(opened, settings, filter_from(body)))

    async def prepare(self, asked: Asked) -> Any:
        """Starts writing cut copies of the images that the filter lets through."""
        body, opened = self._opened(asked)
        settings = settings_in(PrepareImages, body)
        if not Path(settings.target.strip().strip('"')).expanduser().is_absolute():  # it would begin where the host was started
            raise OptionError({"target": "needs the whole path of a folder"})
        return await self._started(lambda: self.datasets.prepare(opened, settings, filter_from(body)))

    async def work(self, asked: Asked) -> Any:
        """How the long work fares."""
        return self.datasets.work.view()

    async def stop(self, asked: Asked) -> Any:
        """Ends the long work after the image it is at."""
        self.datasets.work.stop()
        return {"state": self.datasets.work.view().state}

    def _opened(self, asked: Asked) -> tuple[Mapping[str, Any], Opened]:
        """The body as it came, for what is checked by others, and the folder."""
        return asked.sent, self.datasets.get(asked.body["folder"])

    async def _started(self, start: Callable[[], object]) -> Any:
        before = self.datasets.work.view()
        try:
            await run_in_threadpool(start)
        except PivotalError as error:
            if before.state in ("running", "stopping") and self.datasets.work.view().state in ("running", "stopping"):
                raise Refused(409, str(error)) from error
            raise
        return {"text": f"{self.datasets.work.view().title} has begun.", "state": self.datasets.work.view().state}


def settings_in(section: type[T], body: Mapping[str, Any]) -> T:
    """A tool's options out of a body that has other things in it, too.

    Raises:
        OptionError: with every problem by key.
    """
    keys = {option.key for option in walk(section)}
    return build(section, {key: value for key, value in body.items() if key in keys})


def _line(opened: Opened, name: str) -> dict[str, Any]:
    """An image as the page lists it. Not for the server's own thread: it waits for whoever changes the folder."""
    image = opened.image(name)
    path = opened.place.folder / name
    is_shown, tokens = not opened.trouble(image), opened.shown.tokens(image)  # one that leads out of the folder is not
    return {"name": name, "width": image.size[1], "height": image.size[0], "caption": image.caption, "tokens": tokens,
            "trouble": opened.trouble(image) or image.caption_trouble, "same": opened.same.get(name, ())[:_EXAMPLES],
            "near": (opened.near or {}).get(name, ())[:_EXAMPLES], "thumbnail": sign(path) if is_shown else None,
            "image": sign(path, 0) if is_shown else None,
            "mask": sign(opened.place.mask(name), 0) if is_shown and image.has_mask else None}


def _undone(undone: Undone, what: str) -> dict[str, Any]:
    others = ", ".join(undone.left[:3])
    left = f" {len(undone.left)} were changed since and stay as they are ({others})." if undone.left else ""
    return {"text": f"{len(undone.back)} {what} are as before.{left}", "back": undone.back, "left": undone.left}


def _short(text: str | None) -> str:
    whole = " ".join((text or "").split())
    return repr(whole if len(whole) <= 80 else f"{whole[:80]}…")
