"""Images for the page, only by addresses that the server itself has made (jobs/signed.py: ``sign(path)``)."""

from __future__ import annotations

from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from pivotal.api.http import Refused, Served
from pivotal.data.thumbnails import thumbnail
from pivotal.errors import DatasetError
from pivotal.hosts.protocol import Host
from pivotal.jobs.signed import is_signed

_SHOWN = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".jfif": "image/jpeg", ".webp": "image/webp",
          ".gif": "image/gif", ".bmp": "image/bmp", ".avif": "image/avif"}  # what browsers show; others become a JPEG
_LARGEST = 4096  # px, side of a thumbnail
_HEADERS = {"Cache-Control": "private, max-age=86400", "X-Content-Type-Options": "nosniff"}


class ImageRoutes:
    """One route for the images of all pages."""

    def __init__(self, host: Host):
        self._host = host

    def all(self) -> Served:
        """Path, method and endpoint of each."""
        return [("/image", "GET", self.image)]

    async def image(self, request: Request) -> Response:
        """?path=&size=&key=: the image, or its thumbnail, if the key is the server's own for that path and size."""
        query = request.query_params
        path, size = query.get("path", ""), query.get("size", "")
        if not (size.isascii() and size.isdigit() and len(size) <= 4 and is_signed(path, int(size), query.get("key", ""))):
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
