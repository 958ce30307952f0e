"""The WebUIs' own captioners, with stand-ins for the modules that A1111 1.10.1, Forge and SD.Next 058a7f0 have."""

import sys
from importlib import invalidate_caches
from types import ModuleType, SimpleNamespace

import pytest
from PIL import Image

from pivotal.errors import HostError
from pivotal.hosts.a1111 import A1111Host
from pivotal.hosts.captioning import Captioning, webui_captioners
from pivotal.hosts.forge import ForgeHost
from pivotal.hosts.reforge import ReforgeHost
from pivotal.hosts.sdnext import SdnextHost
from pivotal.hosts.sdnext_captioning import sdnext_captioners


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
    modules.deepbooru.model.tag = lambda _: [][0]  # as without its file, which could not be fetched
    for describe in webui_captioners().values():
        with pytest.raises(HostError, match="its own log"):
            describe(Image.new("RGB", (8, 8)))


SDNEXT = {
    "__init__": "",
    "openclip": "def caption_image(image, clip_model, blip_model, mode, overrides=None):\n"
                "    return f'{clip_model}, {blip_model}, {mode}: {image.mode} {image.size[0]} px '\n",
    "tagger": "def load_model(model_name):\n    return model_name != 'absent'\n"
              "def tag(image, model_name=None, **kwargs):\n    return f'1girl, {image.mode}, {model_name}{kwargs}'\n",
    "vqa": "def caption(question='', system_prompt=None, prompt=None, image=None, model_name=None, **kwargs):\n"
           "    image.thumbnail((8, 8))\n    return f'{question}, {system_prompt}, {prompt}, {model_name}: {image.mode}'\n",
}


@pytest.fixture
def sdnext(monkeypatch, tmp_path):
    """`modules.shared.opts`, with the names and defaults of its settings, and a package `modules.caption` beside it."""
    package, shared = ModuleType("modules"), ModuleType("modules.shared")
    (tmp_path / "caption").mkdir()
    for name, text in SDNEXT.items():
        (tmp_path / "caption" / f"{name}.py").write_text(text, encoding="utf-8")
    package.__path__, package.shared = [str(tmp_path)], shared
    shared.opts = SimpleNamespace(caption_openclip_model="ViT-L-14/openai", caption_openclip_blip_model="blip-base",
                                  caption_openclip_mode="best", waifudiffusion_model="wd", caption_vlm_prompt="Describe",
                                  caption_vlm_system="You caption", caption_vlm_model="Florence")
    monkeypatch.setitem(sys.modules, "modules", package)
    monkeypatch.setitem(sys.modules, "modules.shared", shared)
    (tmp_path / "clip_interrogator.py").write_text("", encoding="utf-8")  # which the host installs when it needs it
    monkeypatch.syspath_prepend(tmp_path)
    yield SimpleNamespace(opts=shared.opts, folder=tmp_path / "caption")
    forget()


def forget():
    """As in a new process."""
    for name in [name for name in sys.modules if name.startswith("modules.caption")]:
        del sys.modules[name]
    invalidate_caches()


def test_sdnext_offers_its_three_by_their_own_calls_and_settings(sdnext):
    assert issubclass(SdnextHost, Captioning)
    image = Image.new("RGB", (30, 20))
    assert {name: describe(image) for name, describe in SdnextHost.captioners(None).items()} == {
        "OpenCLiP": "ViT-L-14/openai, blip-base, best: RGB 30 px", "Tagger": "1girl, RGB, wd{}",
        "VLM Caption": "Describe, You caption, None, Florence: RGB"}
    assert image.size == (30, 20), "SD.Next's VLM shrinks the image that it is given"
    (sdnext.folder / "vqa.py").unlink()
    (sdnext.folder.parent / "clip_interrogator.py").unlink()
    forget()
    assert list(sdnext_captioners()) == ["Tagger"]


@pytest.mark.parametrize(("name", "told"), [
    ("OpenCLiP", "CLIP error: <class 'OSError'>"), ("Tagger", "Exception <class 'OSError'>"), ("VLM Caption", "error"),
    ("VLM Caption", "Error: Please enter a question or instruction in the Prompt field."), ("VLM Caption", "")])
def test_what_sdnext_says_in_place_of_a_caption_is_none(sdnext, name, told):
    for file in ("openclip", "tagger", "vqa"):
        (sdnext.folder / f"{file}.py").write_text(f"def caption_image(*given, **more):\n    return {told!r}\n"
                                                  "load_model, tag, caption = bool, caption_image, caption_image\n", "utf-8")
    with pytest.raises(HostError, match="its own log has the reason"):
        sdnext_captioners()[name](Image.new("RGB", (8, 8)))


def test_a_tagger_that_sdnext_cannot_load_is_told_and_an_image_without_tags_is_none(sdnext):
    sdnext.opts.waifudiffusion_model = "absent"  # its tag() returns "" then, as for an image that has no tags
    with pytest.raises(HostError, match="absent"):
        sdnext_captioners()["Tagger"](Image.new("RGB", (8, 8)))
    sdnext.opts.waifudiffusion_model = "wd"
    (sdnext.folder / "tagger.py").write_text("load_model, tag = bool, lambda *given: ''\n", encoding="utf-8")
    forget()
    assert sdnext_captioners()["Tagger"](Image.new("RGB", (8, 8))) == ""
