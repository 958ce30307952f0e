"""Who may use the API: whom the host lets in, by its ``--api-auth`` and ``--gradio-auth``."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Mapping

from pivotal.hosts.protocol import Logins
from pivotal.jobs.signed import page_cookie, page_key


class Access:
    """Lets everybody in where the host asks nobody for a password.

    Otherwise either of two: HTTP Basic with a name and password of ``--api-auth`` (of ``--gradio-auth`` where only that is set),
    or the key that the page carries. Whoever has the page has passed the host's own login, if it has one.
    """

    def __init__(self, logins: Logins):
        self._known = dict(logins.api or logins.page)
        self.is_open = not self._known
        self.challenge = 'Basic realm="pivotal", charset="UTF-8"'

    def allows(self, cookies: Mapping[str, str], authorization: str) -> bool:
        """Whether a request with these may be served."""
        if self.is_open:
            return True
        shown = cookies.get(page_cookie(), "")
        return secrets.compare_digest(shown.encode("utf-8", "replace"), page_key().encode()) or self._is_known(authorization)

    def _is_known(self, authorization: str) -> bool:
        kind, _, coded = authorization.partition(" ")
        if kind.lower() != "basic":
            return False
        try:
            name, colon, password = base64.b64decode(coded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return False
        # Each is compared, and in constant time: how long a refusal takes tells nothing.
        same = [secrets.compare_digest(f"{name}:{password}".encode(), f"{one}:{right}".encode())
                for one, right in self._known.items()]
        return bool(colon) and any(same)
