"""Which host a process is."""

import sys
import types
from dataclasses import replace

import pytest

from hosts.a1111_standin import Webui, fake_module
from pivotal.errors import HostError
from pivotal.hosts.detect import KINDS, detect


@pytest.fixture
def webui(monkeypatch, tmp_path):
    return Webui(monkeypatch, tmp_path)


def test_without_a_webui_it_says_what_it_looked_for(monkeypatch):
    monkeypatch.delitem(sys.modules, "modules", raising=False)
    with pytest.raises(HostError, match="no Stable Diffusion WebUI was found in this process: it has no modules"):
        detect()


RELATIVES = {"Forge": ["modules_forge", "backend", "backend.diffusion_engine"], "reForge": ["modules_forge", "ldm_patched"],
             "SD.Next": ["modules.processing_diffusers"]}


@pytest.mark.parametrize("name", RELATIVES)
def test_each_relative_gets_its_own_adapter_or_a_sentence(webui, monkeypatch, name):
    for module in RELATIVES[name]:
        fake_module(monkeypatch, module)
    (kind,) = [kind for kind in KINDS if kind.told == name]
    host, shell = types.SimpleNamespace, types.SimpleNamespace
    setattr(fake_module(monkeypatch, kind.module), f"{kind.prefix}Host", lambda: host)
    setattr(fake_module(monkeypatch, f"{kind.module}_shell"), f"{kind.prefix}Shell", lambda: shell)
    assert detect() == (host, shell)
    monkeypatch.setattr("pivotal.hosts.detect.KINDS", [replace(kind, module="pivotal.hosts.nowhere")])
    with pytest.raises(HostError, match=f"^{name} is not supported yet; use AUTOMATIC1111"):
        detect()


def test_an_unknown_relative_is_told_what_it_lacks(webui, monkeypatch):
    monkeypatch.delitem(sys.modules, "modules.sd_hijack")
    with pytest.raises(HostError, match=r"none of those that Pivotal knows \(SD\.Next, .*it lacks .*modules\.sd_hijack"):
        detect()
