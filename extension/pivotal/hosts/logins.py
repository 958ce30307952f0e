"""Names and passwords as hosts' flags have them: ``name:password``, several with commas between them, or a file of such lines."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pivotal.hosts.protocol import Logins

log = logging.getLogger(__name__)


def pairs(text: str | None) -> dict[str, str]:
    """Name to password; a password may hold colons."""
    parts = ((text or "").replace('"', "").replace("\n", ",")).split(",")
    found = (part.strip().partition(":") for part in parts if part.strip())
    return {name: password for name, colon, password in found if colon}


def pairs_in(path: str | None) -> dict[str, str]:
    """The same from a file; none where it cannot be read, which the host itself tells."""
    if not path:
        return {}
    try:
        return pairs(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        log.error("%s cannot be read: %s", path, error)
        return {}


def logins_of(flags: Any, page: str, page_file: str, api: str) -> Logins:
    """What the host's parsed flags of these names say; flags that a host lacks say nothing."""
    def given(name: str) -> Any:
        return getattr(flags, name, None)

    on_page: Mapping[str, str] = {**pairs(given(page)), **pairs_in(given(page_file))}
    return Logins(on_page, pairs(given(api)))
