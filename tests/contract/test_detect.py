"""Which host a process is."""

import runpy
import sys
import types
from dataclasses import replace
from pathlib import Path

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


def test_a_package_that_only_one_adapter_needs_is_told_of_when_it_is_missing(webui, monkeypatch):
    """Adapters are imported when their WebUI is found, long after the script's own imports."""
    (kind,) = [kind for kind in KINDS if kind.told == "SD.Next"]
    fake_module(monkeypatch, "modules.processing_diffusers")
    setattr(fake_module(monkeypatch, kind.module), f"{kind.prefix}Host", types.SimpleNamespace)
    monkeypatch.setitem(sys.modules, f"{kind.module}_shell", None)  # importing it is a ModuleNotFoundError
    told = []
    monkeypatch.setattr("pivotal.incomplete.show_what_is_missing", told.append)
    runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "train_tab.py"))
    assert [f"{kind.module}_shell" in str(error) for error in told] == [True]
