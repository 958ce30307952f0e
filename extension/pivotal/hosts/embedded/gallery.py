"""Images on their way to the disk and to the page."""

from __future__ import annotations

import io
import itertools
import re
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pivotal.errors import HostError
from pivotal.formats.atomic import write_bytes

NUMBERED = re.compile(r"(\d+)-")
SHOWN = 384  # px; smaller images are enlarged for the page until they are at least so large
KEPT = 64  # enlarged copies


def save_images(folder: Path, images: tuple[Image.Image, ...], infotexts: tuple[str, ...], seed: int) -> list[Path]:
    """Writes 00000-seed.png and so on, each with its infotext as WebUIs write it.

    Raises:
        HostError: the disk is full or the folder cannot be written to.
    """
    paths = []
    try:
        number = 1 + max((int(found[1]) for path in folder.glob("*.png") if (found := NUMBERED.match(path.name))), default=-1)
        for index, (image, infotext) in enumerate(zip(images, infotexts, strict=True)):
            paths.append(folder / f"{number + index:05d}-{seed + index}.png")
            png = io.BytesIO()
            image.save(png, "PNG", pnginfo=_png_info(infotext))
            write_bytes(paths[-1], png.getvalue())
    except OSError as error:
        raise HostError(f"The image cannot be saved in {folder}: {error.strerror or error}.") from error
    return paths


def for_page(paths: list[Path], folder: Path) -> list[Path]:
    """What to show for saved images: themselves, or crisply enlarged copies in `folder` of those too small to look at."""
    return [_enlarged(path, folder) for path in paths]


def _enlarged(path: Path, folder: Path) -> Path:
    with Image.open(path) as image:
        factor = -(-SHOWN // max(image.size))
        if factor <= 1:
            return path
        large = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
        infotext = image.info.get("parameters", "")
    folder.mkdir(parents=True, exist_ok=True)
    copies = sorted(folder.glob("*.png"), key=lambda copy: copy.stat().st_mtime_ns)
    for old in itertools.islice(copies, max(0, len(copies) - KEPT)):
        old.unlink(missing_ok=True)
    copy = folder / path.name
    large.save(copy, pnginfo=_png_info(infotext))
    return copy


def _png_info(infotext: str) -> PngInfo:
    info = PngInfo()
    info.add_text("parameters", infotext)
    return info
