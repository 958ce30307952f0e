"""Which WebUI this process is, asked of what it can do."""

from __future__ import annotations

import importlib.util

from pivotal.errors import HostError
from pivotal.hosts.protocol import Host, Shell

# Relatives of A1111 that have its `modules`, but lend their model otherwise; a module that only they have.
OTHERS = {"modules_forge": "Forge and reForge are", "modules.processing_diffusers": "SD.Next is"}
NEEDED = ("modules.shared", "modules.sd_models", "modules.sd_hijack", "modules.call_queue", "modules.processing",
          "modules.script_callbacks", "modules.textual_inversion.textual_inversion")


def detect() -> tuple[Host, Shell]:
    """The WebUI that runs this process, and its page.

    Raises:
        HostError: there is none, or none that can lend its model; says what was looked for.
    """
    try:
        missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    except ImportError as error:  # a parent package is missing
        missing = [str(error.name)]
    if missing:
        raise HostError(f"no Stable Diffusion WebUI was found in this process: it has no {', '.join(missing)}")
    for module, it_is in OTHERS.items():
        if importlib.util.find_spec(module) is not None:
            raise HostError(f"{it_is} not supported yet; use AUTOMATIC1111, or Pivotal's own page: install.py webui")
    from pivotal.hosts.a1111 import A1111Host
    from pivotal.hosts.a1111_shell import A1111Shell

    return A1111Host(), A1111Shell()
