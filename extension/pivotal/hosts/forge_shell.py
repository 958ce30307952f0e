"""Forge's page. Seen with f2.0.1v1.10.1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pivotal.hosts import forge_bundles
from pivotal.hosts.a1111_shell import A1111Shell


class ForgeShell(A1111Shell):
    """As AUTOMATIC1111's; and the place from which the host is taught to read bundled embeddings, and untaught again."""

    def add_routes(self, attach: Callable[[Any], None]) -> None:
        from modules import script_callbacks

        super().add_routes(attach)
        # By then every extension has registered its kinds of networks; "Reload UI" empties that register.
        script_callbacks.on_app_started(lambda _demo, _app: forge_bundles.install())
        script_callbacks.on_script_unloaded(forge_bundles.uninstall)
