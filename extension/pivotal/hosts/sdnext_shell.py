"""SD.Next's page, which takes tabs and routes as AUTOMATIC1111's does. Seen with 058a7f0 (July 2026), gradio 3.43.2."""

from __future__ import annotations

from pivotal.hosts.a1111_shell import A1111Shell


class SdnextShell(A1111Shell):
    """See hosts.a1111_shell.A1111Shell."""
