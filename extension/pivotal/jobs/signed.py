"""Addresses of images that this process has shown itself: nobody can make one for another file of this machine.

The secret lives as long as the process; a page that was drawn before a restart draws its images anew.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path
from urllib.parse import urlencode

ADDRESS = "pivotal/v1/image"  # relative to the page: a proxy may put that anywhere
SIDE = 256  # px of a thumbnail
_SECRET = secrets.token_bytes(32)


def sign(path: Path, size: int = SIDE) -> str:
    """The address of the image in `path`, to be put into a page; escape it there as any text.

    Args:
        size: px, the longer side of a thumbnail; 0 for the image itself.
    """
    whole = str(path.absolute())
    try:
        version = str(path.stat().st_mtime_ns)  # so that a browser asks again for an image that has changed
    except OSError:
        version = "0"
    # A name that is no text (Linux) has no address that works, and must not cost the page that shows its neighbours.
    query = {"path": whole, "size": size, "v": version, "key": _key(whole, size)}
    return f"{ADDRESS}?" + urlencode(query, errors="replace")


def is_signed(path: str, size: int, key: str) -> bool:
    """Whether `key` was made here for that path and size."""
    return hmac.compare_digest(_key(path, size).encode(), key.encode("utf-8", "replace"))


def page_cookie() -> str:
    """The cookie's name; another one in each process, for two WebUIs on one machine share their cookies."""
    return "pivotal_" + _made("cookie")[:12]


def page_key() -> str:
    """What a page of this process shows to be let in, where the host asks for a password."""
    return _made("page")


def _key(path: str, size: int) -> str:
    return _made(f"{size}\n{path}")


def _made(text: str) -> str:
    return hmac.new(_SECRET, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:32]
