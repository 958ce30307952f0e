"""Images for the page, only by addresses that the server itself has made (jobs/signed.py: ``sign(path)``)."""

from __future__ import annotations

from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response

from pivotal.api.fields import text
from pivotal.api.http import Asked, Refused, Route, Served
from pivotal.data.thumbnails import thumbnail
from pivotal.errors import DatasetError
from pivotal.hosts.protocol import Host
from pivotal.jobs.signed import is_signed

_SHOWN = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".jfif": "image/jpeg", ".webp": "image/webp",
          ".gif": "image/gif", ".bmp": "image/bmp", ".avif": "image/avif"}  # what browsers show; others become a JPEG
_LARGEST = 4096  # px, side of a thumbnail
_LONGEST = 32_767  # characters of a path, on Windows with the prefix for long ones
_HEADERS = {"Cache-Control": "private, max-age=86400", "X-Content-Type-Options": "nosniff"}


class ImageRoutes:
    """One route for the images of all pages."""

    def __init__(self, host: Host):
        self._host = host

    def all(self) -> Served:
        """What is served here."""
        query = (text("path", "The image's file.", _LONGEST), text("size", "px, the longer side of a thumbnail; 0 is the image."),
                 text("key", "What this server made of the two."))
        return [Route("/image", "GET", self.image, bytes, query=query, refuses=(403, 404), media="image/*")]

    async def image(self, asked: Asked) -> Response:
        """An image, or its thumbnail, by an address that the server itself has made.

        Every other address is refused: no file of this machine can be asked for by its path.
        """
        path, size, key = (asked.query[name] for name in ("path", "size", "key"))
        if not (size.isascii() and size.isdigit() and len(size) <= 4 and is_signed(path, int(size), key)):
            raise Refused(403, "that address is not of this server; load the page again")
        return await run_in_threadpool(self._served, Path(path), min(int(size), _LARGEST))

    def _served(self, path: Path, size: int) -> Response:
        if not path.is_file():
            raise Refused(404, "the image is gone")
        if not size and path.suffix.lower() in _SHOWN:
            return FileResponse(str(path), headers=_HEADERS, media_type=_SHOWN[path.suffix.lower()])
        try:
            made = thumbnail(path, size or _LARGEST, self._host.folders().scratch / "cache" / "thumbnails")
        except DatasetError as error:
            raise Refused(404, str(error)) from error
        return Response(made, media_type="image/jpeg", headers=_HEADERS)
