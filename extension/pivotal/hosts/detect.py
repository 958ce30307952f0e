"""Which WebUI this process is, asked of what it can do."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass

from pivotal.errors import HostError
from pivotal.hosts.protocol import Host, Shell

SHARED = ("modules.shared", "modules.call_queue", "modules.script_callbacks", "modules.sd_models", "modules.processing")


@dataclass(frozen=True)
class Kind:
    """One of A1111's relatives: all have its `modules`, but each lends its model in another way."""

    told: str
    needed: tuple[str, ...]  # modules that it has besides SHARED, and that the kinds after it lack
    module: str  # of ours; has a class <prefix>Host, and <module>_shell a class <prefix>Shell
    prefix: str


# Forge has a `backend` of its own; reForge, and Forge before August 2024, have ComfyUI's as `ldm_patched`.
KINDS = (
    Kind("SD.Next", ("modules.processing_diffusers",), "pivotal.hosts.sdnext", "Sdnext"),
    Kind("Forge", ("modules_forge", "backend.diffusion_engine"), "pivotal.hosts.forge", "Forge"),
    Kind("reForge", ("modules_forge", "ldm_patched"), "pivotal.hosts.reforge", "Reforge"),
    Kind("AUTOMATIC1111", ("modules.sd_hijack", "modules.textual_inversion.textual_inversion"), "pivotal.hosts.a1111",
         "A1111"),
)


def detect() -> tuple[Host, Shell]:
    """The WebUI that runs this process, and its page.

    Raises:
        HostError: there is none, or none that can lend its model; says what was looked for.
    """
    missing = _missing(SHARED)
    if missing:
        raise HostError(f"no Stable Diffusion WebUI was found in this process: it has no {', '.join(missing)}")
    kind = next((kind for kind in KINDS if not _missing(kind.needed)), None)
    if kind is None:
        known = ", ".join(kind.told for kind in KINDS)
        raise HostError(f"this WebUI is none of those that Pivotal knows ({known}): it lacks what they have, such as "
                        f"{', '.join(_missing(KINDS[-1].needed))}. Use Pivotal's own page: install.py webui")
    if _missing((kind.module,)):
        raise HostError(f"{kind.told} is not supported yet; use AUTOMATIC1111, or Pivotal's own page: install.py webui")
    # No sooner than now: they may import what only that WebUI has.
    host: type[Host] = getattr(importlib.import_module(kind.module), f"{kind.prefix}Host")
    shell: type[Shell] = getattr(importlib.import_module(f"{kind.module}_shell"), f"{kind.prefix}Shell")
    return host(), shell()


def _missing(names: tuple[str, ...]) -> list[str]:
    """Those of `names` that cannot be imported here; imports no more than their parents."""
    missing = []
    for name in names:
        try:
            if importlib.util.find_spec(name) is None:
                missing.append(name)
        except ImportError:  # a parent package is missing
            missing.append(name)
    return missing
