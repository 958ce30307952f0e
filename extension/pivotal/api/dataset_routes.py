"""A folder's images: shown, captioned, checked, masked and cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from pivotal.api.http import Refused, Served, answer, body_of, text_in
from pivotal.config.build import build
from pivotal.config.options import walk
from pivotal.errors import PivotalError
from pivotal.jobs.signed import sign
from pivotal.tools.dataset.changes import Change
from pivotal.tools.dataset.datasets import OWN_CAPTIONERS, Datasets
from pivotal.tools.dataset.filters import filter_from, number
from pivotal.tools.dataset.mask_files import delete_mask, save_painted
from pivotal.tools.dataset.opened import Opened
from pivotal.tools.dataset.settings import CaptionImages, EditCaptions, MaskImages, PrepareImages

T = TypeVar("T")
_LONGEST_PATH, _LONGEST_CAPTION, _LONGEST_MASK = 4096, 1_000_000, 64_000_000  # characters
_MOST_SHOWN = 500  # images in one answer
_EXAMPLES = 3


class DatasetRoutes:
    """Every request but `open` names a folder that is open, and images in it; nothing else can be reached."""

    def __init__(self, datasets: Datasets):
        self.datasets = datasets

    def all(self) -> Served:
        """Path, method and endpoint of each."""
        return [("/dataset/open", "POST", self.open), ("/dataset/images", "POST", self.images),
                ("/dataset/tags", "POST", self.tags), ("/dataset/caption", "POST", self.caption),
                ("/dataset/change", "POST", self.change), ("/dataset/undo", "POST", self.undo),
                ("/dataset/compare", "POST", self.compare), ("/dataset/mask", "POST", self.mask),
                ("/dataset/mask/delete", "POST", self.delete_mask), ("/dataset/captions", "POST", self.captions),
                ("/dataset/masks", "POST", self.masks), ("/dataset/prepare", "POST", self.prepare),
                ("/dataset/work", "GET", self.work), ("/dataset/work/stop", "POST", self.stop)]

    async def open(self, request: Request) -> Response:
        """{"folder", "subfolders": false, "ending": ".txt" or ""}: the folder's own name, for all other requests."""
        body = await body_of(request)
        where, ending = text_in(body, "folder", _LONGEST_PATH), text_in(body, "ending", 20, "")
        subfolders = body.get("subfolders") is True
        opened = await run_in_threadpool(lambda: self.datasets.open(where, subfolders=subfolders, ending=ending))
        count = len(opened.images())
        return answer({"folder": str(opened.place.folder), "ending": opened.place.ending, "images": count,
                       "captioners": self.datasets.captioners(), "text": "" if count else "There is no image in this folder."})

    async def images(self, request: Request) -> Response:
        """{"folder", "filter", "search", "tag", "least", "tokens", "page", "size": 50}: the images of a page, and counts."""
        body, opened = await self._opened(request)
        chosen_by = filter_from(body)
        page, size = number(body, "page", 1, 1, 1_000_000), number(body, "size", 50, 1, _MOST_SHOWN)

        def shown() -> dict[str, Any]:
            chosen = opened.chosen(chosen_by)
            lines = [_line(opened, image.name) for image in chosen[(page - 1) * size:page * size]]
            uncounted = opened.count_more()  # before the counts, which are of what is known
            return {"images": lines, "found": len(chosen), "counts": opened.counts(chosen_by), "uncounted": uncounted,
                    "undo": opened.undoes}

        return answer(await run_in_threadpool(shown))

    async def tags(self, request: Request) -> Response:
        """{"folder", and a filter}: in how many captions each tag stands."""
        body, opened = await self._opened(request)
        found = await run_in_threadpool(opened.tags, filter_from(body))
        return answer({"tags": [{"tag": tag, "count": count} for tag, count in found]})

    async def caption(self, request: Request) -> Response:
        """{"folder", "name", "text", "old": what it was when it was read, or left out}: writes one caption."""
        body, opened = await self._opened(request)
        name, text = text_in(body, "name", _LONGEST_PATH), text_in(body, "text", _LONGEST_CAPTION)
        old = None if body.get("old") is None else text_in(body, "old", _LONGEST_CAPTION)
        await run_in_threadpool(opened.save, name, text, old)
        return answer(_line(opened, name))

    async def change(self, request: Request) -> Response:
        """{"folder", "action", "find", "text", "is_regular", "any_case", "preview": true, and a filter}: many captions."""
        body, opened = await self._opened(request)
        settings = settings_in(EditCaptions, body)
        change = Change(settings.action, settings.find, settings.text, settings.is_regular, settings.any_case)
        made = await run_in_threadpool(opened.preview if settings.preview else opened.apply, change, filter_from(body))
        examples = [f"{one.name}: {_short(one.old)} → {_short(one.new)}" for one in made.changes[:_EXAMPLES]]
        verb = "would change" if settings.preview else "changed"
        text = "\n".join([f"{len(made.changes)} of {made.looked_at} captions {verb}.", *examples])
        return answer({"text": text, "changed": len(made.changes), "looked_at": made.looked_at})

    async def undo(self, request: Request) -> Response:
        """{"folder"}: takes the last change of captions back."""
        _, opened = await self._opened(request)
        undone = await run_in_threadpool(opened.undo)
        others = ", ".join(undone.left[:3])
        left = f" {len(undone.left)} were changed since and stay as they are ({others})." if undone.left else ""
        return answer({"text": f"{len(undone.back)} captions are as before.{left}", "back": undone.back, "left": undone.left})

    async def compare(self, request: Request) -> Response:
        """{"folder"}: starts looking for images that are damaged or nearly the same."""
        _, opened = await self._opened(request)
        return await self._started(lambda: self.datasets.compare(opened))

    async def mask(self, request: Request) -> Response:
        """{"folder", "name", "png": base64}: writes a painted mask beside its image."""
        body, opened = await self._opened(request)
        name, png = text_in(body, "name", _LONGEST_PATH), text_in(body, "png", _LONGEST_MASK)

        def save() -> str:
            path = save_painted(opened.place, name, png)
            opened.renew([name])
            return path.name

        written = await run_in_threadpool(save)
        return answer({"text": f"{written} is written.", **_line(opened, name)})

    async def delete_mask(self, request: Request) -> Response:
        """{"folder", "name"}: deletes an image's mask."""
        body, opened = await self._opened(request)
        name = text_in(body, "name", _LONGEST_PATH)

        def delete() -> None:
            delete_mask(opened.place, name)
            opened.renew([name])

        await run_in_threadpool(delete)
        return answer({"text": "The mask is deleted.", **_line(opened, name)})

    async def captions(self, request: Request) -> Response:
        """{"folder", "captioner", and the options of the tool caption-images, and a filter}: starts writing captions."""
        body, opened = await self._opened(request)
        name = text_in(body, "captioner", 100, OWN_CAPTIONERS[0])
        settings = settings_in(CaptionImages, {key: value for key, value in body.items() if key != "captioner"})
        return await self._started(lambda: self.datasets.write_captions(opened, settings, name, filter_from(body)))

    async def masks(self, request: Request) -> Response:
        """{"folder", and the options of the tool mask-images, and a filter}: starts making masks."""
        body, opened = await self._opened(request)
        settings = settings_in(MaskImages, body)
        return await self._started(lambda: self.datasets.make_masks(opened, settings, filter_from(body)))

    async def prepare(self, request: Request) -> Response:
        """{"folder", "target", and the options of the tool prepare-images, and a filter}: starts writing cut copies."""
        body, opened = await self._opened(request)
        settings = settings_in(PrepareImages, body)
        return await self._started(lambda: self.datasets.prepare(opened, settings, filter_from(body)))

    async def work(self, request: Request) -> Response:
        """How the long work fares."""
        return answer(self.datasets.work.view())

    async def stop(self, request: Request) -> Response:
        """Ends the long work after the image it is at."""
        await body_of(request)
        self.datasets.work.stop()
        return answer({"state": self.datasets.work.view().state})

    async def _opened(self, request: Request) -> tuple[dict[str, Any], Opened]:
        body = await body_of(request)
        return body, self.datasets.get(text_in(body, "folder", _LONGEST_PATH))

    async def _started(self, start: Callable[[], object]) -> Response:
        before = self.datasets.work.view()
        try:
            await run_in_threadpool(start)
        except PivotalError as error:
            if before.state in ("running", "stopping") and self.datasets.work.view().state in ("running", "stopping"):
                raise Refused(409, str(error)) from error
            raise
        return answer({"text": f"{self.datasets.work.view().title} has begun.", "state": self.datasets.work.view().state})


def settings_in(section: type[T], body: Mapping[str, Any]) -> T:
    """A tool's options out of a body that has other things in it, too.

    Raises:
        OptionError: with every problem by key.
    """
    keys = {option.key for option in walk(section)}
    return build(section, {key: value for key, value in body.items() if key in keys})


def _line(opened: Opened, name: str) -> dict[str, Any]:
    image = opened.image(name)
    path = opened.place.folder / name
    is_shown, tokens = not opened.trouble(image), opened.tokens(image)  # one that leads out of the folder is not
    return {"name": name, "width": image.size[1], "height": image.size[0], "caption": image.caption, "tokens": tokens,
            "trouble": opened.trouble(image) or image.caption_trouble, "same": opened.same.get(name, ())[:_EXAMPLES],
            "near": (opened.near or {}).get(name, ())[:_EXAMPLES], "thumbnail": sign(path) if is_shown else None,
            "image": sign(path, 0) if is_shown else None,
            "mask": sign(opened.place.mask(name), 0) if is_shown and image.has_mask else None}


def _short(text: str | None) -> str:
    whole = " ".join((text or "").split())
    return repr(whole if len(whole) <= 80 else f"{whole[:80]}…")
