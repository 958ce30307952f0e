"""What an image file says of itself before it is decoded."""

from __future__ import annotations

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngImageFile

from pivotal.data.view import Size

_SIGNATURE = 8  # bytes at the begin of a PNG
_AFTER_PIXELS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # chunks that may hold an orientation


def upright_size(image: Image.Image) -> Size:
    """Height and width once the image is turned as its EXIF says; decodes nothing that need not be."""
    width, height = image.size
    return (width, height) if _orientation(image) in (5, 6, 7, 8) else (height, width)


def _orientation(image: Image.Image) -> int:
    # PngImageFile.getexif decodes the whole image, in case a chunk comes after its pixels.
    is_plain = isinstance(image, PngImageFile) and not _has_late_chunks(image)
    exif = Image.Image.getexif(image) if is_plain else image.getexif()
    return exif.get(ExifTags.Base.Orientation, 1)


def _has_late_chunks(image: PngImageFile) -> bool:
    """Whether a chunk that may tell the orientation comes after the pixels."""
    file, seen = image.fp, False
    if file is None or not file.seekable():  # decoded already, or a stream
        return True
    place = file.tell()
    try:
        file.seek(_SIGNATURE)
        while len(head := file.read(8)) == 8:
            seen = seen or head[4:] == b"IDAT"
            if seen and head[4:] in _AFTER_PIXELS:
                return True
            file.seek(int.from_bytes(head[:4], "big") + 4, 1)
        return False
    finally:
        file.seek(place)
