"""SD.Next's page, which takes tabs and routes as AUTOMATIC1111's does. Seen with 058a7f0 (July 2026), gradio 3.43.2."""

from __future__ import annotations

from pivotal.hosts.a1111_shell import A1111Shell
from pivotal.hosts.logins import logins_of
from pivotal.hosts.protocol import Logins


class SdnextShell(A1111Shell):
    """See hosts.a1111_shell.A1111Shell."""

    def logins(self) -> Logins:
        """One list for both: its API asks for what its page asks for (modules/api/api.py)."""
        from modules import shared

        page = logins_of(shared.cmd_opts, "auth", "auth_file", "auth").page
        return Logins(page, page)
