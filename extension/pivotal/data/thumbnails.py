"""Small pictures of images, made once and kept by the content of the file."""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
from pathlib import Path

from PIL import Image

from pivotal.data.images import READ_ERRORS, open_image, upright_rgb
from pivotal.errors import DatasetError
from pivotal.formats.atomic import write_bytes

MOST_PIXELS = 100_000_000  # an image of more is not decoded for a picture of it: 300 MB of memory
MOST_BYTES = 200_000_000  # of a file
MOST_KEPT = 20_000  # pictures, about 200 MB
_LOOKS_EVERY = 256  # new pictures, at whether there are too many
_AT_ONCE = threading.Semaphore(2)  # a page asks for many together, and a run wants the processor, too


def thumbnail(path: Path, side: int, folder: Path) -> bytes:
    """A JPEG of the upright image in `path`, its longer side `side` px at most.

    Args:
        folder: where it is kept; it need not exist.

    Raises:
        DatasetError: it is no image, or one that is too large.
    """
    with _AT_ONCE:
        try:
            if path.stat().st_size > MOST_BYTES:
                raise DatasetError(f"{path.name} has more than {MOST_BYTES // 10**6} MB.")
            data = path.read_bytes()
        except OSError as error:
            raise DatasetError(f"{path.name} cannot be read: {error.strerror or error}.") from error
        kept = folder / f"{hashlib.sha256(data).hexdigest()}-{side}.jpg"
        with contextlib.suppress(FileNotFoundError):  # else it is not made yet
            return kept.read_bytes()
        made = _made(path, side)
        with contextlib.suppress(OSError):  # a full disk makes pages slower, not wrong
            write_bytes(kept, made)
            if int(kept.name[:4], 16) % _LOOKS_EVERY == 0:  # a hash, so that it needs no counter
                prune(folder)
        return made


def prune(folder: Path) -> None:
    """Deletes the oldest pictures beyond `MOST_KEPT`; whoever needs one makes it again."""
    files = sorted(folder.glob("*.jpg"), key=lambda path: path.stat().st_mtime)
    for path in files[:max(0, len(files) - MOST_KEPT)]:
        path.unlink(missing_ok=True)


def _made(path: Path, side: int) -> bytes:
    try:
        with open_image(path) as image:
            if image.width * image.height > MOST_PIXELS:
                raise DatasetError(f"{path.name} has {image.width}x{image.height} px, too many for a picture of it.")
            image.draft("RGB", (2 * side, 2 * side))  # a JPEG is decoded small at once; others ignore it
            small = upright_rgb(image)
            small.thumbnail((side, side), Image.Resampling.LANCZOS)
    except READ_ERRORS as error:
        raise DatasetError(f"{path.name} cannot be read: {error}.") from error
    file = io.BytesIO()
    small.save(file, "JPEG", quality=85)
    return file.getvalue()
