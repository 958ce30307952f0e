"""What is known of a folder's images; only what has changed since is read again, and nothing is decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pivotal.data.headers import upright_size
from pivotal.data.images import READ_ERRORS, open_image
from pivotal.data.view import Size
from pivotal.errors import DatasetError
from pivotal.tools.dataset.caption_files import read_caption
from pivotal.tools.dataset.places import Place, Seen, look

UNKNOWN = (0, 0)  # size of an image that cannot be read


@dataclass(frozen=True)
class Found:
    """An image of a folder."""

    name: str  # from the folder, with slashes
    size: Size  # height, width in px of the upright image; UNKNOWN where it cannot be read
    caption: str | None  # with plain line ends; None when it has none, or one that cannot be read
    has_mask: bool = False
    trouble: str = ""  # why the image cannot be read
    caption_trouble: str = ""  # why its caption cannot be


@dataclass(frozen=True)
class Known:
    """`found`, and what the system said of its files when they were read."""

    seen: Seen
    found: Found


def scan(place: Place, known: Mapping[str, Known]) -> dict[str, Known]:
    """Every image of the folder by name, in the order of names.

    Args:
        known: what was found before; what did not change since is taken from it.

    Raises:
        DatasetError: the folder cannot be read.
    """
    return {seen.name: _renewed(place, seen, known.get(seen.name)) for seen in look(place)}


def renewed(place: Place, known: Known) -> Known:
    """An image after its caption or its mask was changed."""
    seen = known.seen
    try:
        now = Seen(seen.name, seen.stamp, _stamp(place.caption(seen.name)), _stamp(place.mask(seen.name)))
    except DatasetError:  # gone meanwhile: the next scan will tell
        return known
    return Known(now, replace(_captioned(place, now, known.found), has_mask=now.mask is not None))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


def _renewed(place: Place, seen: Seen, known: Known | None) -> Known:
    if known is not None and known.seen == seen:
        return known
    found = known.found if known is not None and known.seen.stamp == seen.stamp else _opened(place, seen.name)
    return Known(seen, replace(_captioned(place, seen, found), has_mask=seen.mask is not None))


def _opened(place: Place, name: str) -> Found:
    try:
        with open_image(place.image(name)) as image:
            return Found(name, upright_size(image), None)
    except READ_ERRORS as error:
        return Found(name, UNKNOWN, None, trouble=" ".join(str(error).split())[:200] or type(error).__name__)
    except DatasetError as error:
        return Found(name, UNKNOWN, None, trouble=str(error))


def _captioned(place: Place, seen: Seen, found: Found) -> Found:
    try:
        text = None if seen.caption is None else read_caption(place.caption(seen.name))
    except DatasetError as error:
        return replace(found, caption=None, caption_trouble=str(error))
    return replace(found, caption=text, caption_trouble="")
