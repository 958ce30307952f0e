"""reForge's page. Seen with main, commit 3b56b268."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pivotal.hosts import reforge_bundles
from pivotal.hosts.a1111_shell import A1111Shell
from pivotal.hosts.forge_bundles import uninstall


class ReforgeShell(A1111Shell):
    """As AUTOMATIC1111's; and the place from which the host is taught to read bundled embeddings, and untaught again."""

    def add_routes(self, attach: Callable[[Any], None]) -> None:
        from modules import script_callbacks

        super().add_routes(attach)
        # By then every extension has registered its kinds of networks; "Reload UI" empties that register.
        script_callbacks.on_app_started(lambda _demo, _app: reforge_bundles.install())
        script_callbacks.on_script_unloaded(uninstall)
