"""AUTOMATIC1111's page. Seen with 1.10.1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pivotal.hosts.logins import logins_of
from pivotal.hosts.protocol import Logins


class A1111Shell:
    """Puts a tab and routes into the page that is being made; a page made anew ("Reload UI") needs them again."""

    # The host has a Train tab of its own, and finds hidden tabs and their order by label (modules/ui.py, 1.10.1).
    title = "Pivotal"

    def add_tab(self, title: str, identifier: str, build: Callable[[], None]) -> None:
        from modules import script_callbacks

        def draw() -> list[tuple[Any, str, str]]:
            from modules.ui import gr  # the host's gradio; only ui/ imports its own

            with gr.Blocks(analytics_enabled=False) as interface:
                build()
            return [(interface, title, identifier)]

        script_callbacks.on_ui_tabs(draw)

    def add_routes(self, attach: Callable[[Any], None]) -> None:
        from modules import script_callbacks

        script_callbacks.on_app_started(lambda _demo, app: attach(app))

    def logins(self) -> Logins:
        from modules import shared

        return logins_of(shared.cmd_opts, "gradio_auth", "gradio_auth_path", "api_auth")
