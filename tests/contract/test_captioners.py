"""The WebUIs' own captioners, with stand-ins for the modules that A1111 1.10.1 and Forge have."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
from PIL import Image

from pivotal.errors import HostError
from pivotal.hosts.a1111 import A1111Host
from pivotal.hosts.captioning import Captioning, webui_captioners
from pivotal.hosts.forge import ForgeHost
from pivotal.hosts.reforge import ReforgeHost


@pytest.fixture
def modules(monkeypatch):
    """`modules.shared.interrogator.interrogate(image)` and `modules.deepbooru.model.tag(image)`."""
    package, shared, deepbooru = ModuleType("modules"), ModuleType("modules.shared"), ModuleType("modules.deepbooru")
    package.shared, package.deepbooru = shared, deepbooru
    shared.interrogator = SimpleNamespace(interrogate=lambda image: f"a picture of {image.size[0]} px ")
    deepbooru.model = SimpleNamespace(tag=lambda image: f"1girl, {image.mode}")
    for name, module in {"modules": package, "modules.shared": shared, "modules.deepbooru": deepbooru}.items():
        monkeypatch.setitem(sys.modules, name, module)
    return package


@pytest.mark.parametrize("host", [A1111Host, ForgeHost, ReforgeHost])
def test_the_hosts_offer_what_they_have(modules, host):
    assert issubclass(host, Captioning)
    found = host.captioners(None)
    image = Image.new("RGBA", (30, 20))
    assert {name: describe(image) for name, describe in found.items()} == {
        "Interrogate CLIP": "a picture of 30 px", "Interrogate DeepBooru": "1girl, RGB"}


def test_what_a_host_lacks_is_not_offered(modules, monkeypatch):
    modules.shared.interrogator = None
    assert list(webui_captioners()) == ["Interrogate DeepBooru"]
    monkeypatch.setitem(sys.modules, "modules.deepbooru", None)
    del modules.deepbooru
    assert webui_captioners() == {}


def test_a_failed_captioner_is_no_caption(modules):
    modules.shared.interrogator.interrogate = lambda _: "a cat<error>"
    with pytest.raises(HostError, match="its own log"):
        webui_captioners()["Interrogate CLIP"](Image.new("RGB", (8, 8)))
