"""Bundled embeddings in Forge, against a stand-in of its modules."""

import types
from pathlib import Path

import pytest
import torch

from hosts.forge_standin import LAYER, WIDTHS, Forge, borrowed
from pivotal.formats.embedding_file import embedding_bytes
from pivotal.formats.network_file import network_bytes
from pivotal.hosts import forge_bundles
from pivotal.hosts.detect import detect


@pytest.fixture
def webui(monkeypatch, tmp_path):
    return Forge(monkeypatch, tmp_path)


def draw(webui, *loras):
    """What a prompt with these LoRAs sees, and what is left when it is drawn: the words of each table."""
    comments = []
    p = types.SimpleNamespace(comment=comments.append)
    model = webui.data.sd_model
    tables = [value.embeddings for name, value in vars(model).items() if name.startswith("text_processing_engine")]
    for kind in list(webui.kinds.values()):
        kind.activate(p, loras)
    during = [sorted(table.word_embeddings) for table in tables]
    for kind in list(webui.kinds.values()):
        kind.deactivate(p)
    return during, [sorted(table.word_embeddings) for table in tables], comments


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_bundled_embeddings_are_there_only_while_their_lora_is_in_the_prompt(monkeypatch, tmp_path, family):
    webui = Forge(monkeypatch, tmp_path, family)
    host, _ = detect()
    borrowed(host, lambda _: None)
    widths = {"sd1": (32,), "sdxl": (32, 64)}[family]
    bundle = {"zkin": [torch.ones(2, width) for width in widths]}
    (webui.loras / "x.safetensors").write_bytes(network_bytes(LAYER, bundle, {}))
    (webui.loras / "plain.safetensors").write_bytes(network_bytes(LAYER, {}, {}))
    none, some = [[]] * len(widths), [["zkin"]] * len(widths)
    assert (host.reads_bundles, draw(webui, "x")) == (False, (none, none, []))
    before = webui.kinds["lora"]
    forge_bundles.install()
    forge_bundles.install()  # a second time, as after an error, changes nothing
    assert host.reads_bundles
    assert draw(webui, "x") == (some, none, [])
    assert draw(webui, "plain") == (none, none, [])
    webui.kinds["lora"].activate(types.SimpleNamespace(comment=print), ["x"])  # and then an exception ends the drawing
    assert draw(webui) == (none, none, [])
    forge_bundles.uninstall()
    assert webui.kinds["lora"] is before
    assert not host.reads_bundles


def test_an_embedding_of_its_own_file_goes_before_a_bundled_one(webui):
    host, _ = detect()
    borrowed(host, lambda _: None)
    (webui.loras / "x.safetensors").write_bytes(network_bytes(LAYER, {"zkin": [torch.ones(2, 32)]}, {}))
    path = host.folders().embeddings / "zkin.safetensors"
    path.write_bytes(embedding_bytes([torch.full((3, 32), 7.0)], {}))
    host.refresh(path)
    forge_bundles.install()
    table = webui.data.sd_model.text_processing_engine.embeddings
    assert draw(webui, "x")[:2] == ([["zkin"]], [["zkin"]])
    assert table.word_embeddings["zkin"].vec[0, 0] == 7
    assert table.expected_shape == WIDTHS["sd1"]


def test_a_replaced_bundle_is_read_again_and_more_keys_than_the_host_bears_are_told(webui):
    borrowed(detect()[0], lambda _: None)
    forge_bundles.install()
    path: Path = webui.loras / "x.safetensors"
    for count in (1, 13):
        path.write_bytes(network_bytes(LAYER, {f"zk{number:02}": [torch.ones(1, 32)] for number in range(count)}, {}))
        during, after, comments = draw(webui, "x")
        assert (len(during[0]), after) == (count, [[]])
        assert bool(comments) == (count > 12)
    assert "x.safetensors bundles 13 tensors" in comments[0]
