"""What is told of a network before its run, by the host it is trained in."""

from __future__ import annotations

import pytest

from fake_host import FakeHost, write_dataset
from pivotal.errors import OptionError
from pivotal.hosts.forge import ForgeHost
from pivotal.hosts.protocol import NetworkReader
from pivotal.hosts.reforge import ReforgeHost
from pivotal.jobs.checks.plan import make_plan

FORGE = ForgeHost.network_reader


@pytest.fixture
def told(tmp_path):
    """The notices of a run with a network in a host of such a reader and family."""
    images = write_dataset(tmp_path / "images")

    def notices(reader: NetworkReader, method: str = "lora", words: int = 0, family: str = "sd1", **more):
        host = FakeHost(tmp_path, family)
        host.network_reader = reader
        rows = {f"embeddings.{row}.{key}": value for row in range(words) for key, value in (
            ("placeholder", f"zkone{'abcdefghijklmnop'[row]}"), ("token_count", 1), ("initial_text", "green"))}
        return make_plan({"name": "net", "dataset.folder": str(images), "dataset.resolution": 64, "dataset.captions": "own",
                          "dataset.templates": ["[name]"], "network.method": method, **rows, **more}, host).notices

    return notices


@pytest.mark.parametrize(("reader", "methods"), [(NetworkReader(), ()), (FORGE, ("oft", "boft", "ia3")),
                                                 (ReforgeHost.network_reader, ("ia3",))])
def test_a_method_whose_files_the_host_leaves_out_is_told(told, reader, methods):
    for method in ("lora", "loha", "lokr", "dylora", "oft", "boft", "ia3", "glora", "full"):
        notice = told(reader, method).get("network.method", "")
        assert bool(notice) == (method in methods), method


@pytest.mark.parametrize(("family", "fitting"), [("sd1", 12), ("sdxl", 6)])
def test_more_bundled_embeddings_than_the_host_takes_are_told(told, family, fitting):
    """One tensor each in SD 1, two in SDXL; Forge takes twelve (networks.py, load_lora_for_models)."""
    assert "save.bundle" not in told(FORGE, words=fitting, family=family)
    notice = told(FORGE, words=fitting + 1, family=family)["save.bundle"]
    assert f"{fitting + 1} embeddings" in notice
    assert "save.bundle" not in told(FORGE, words=fitting + 1, family=family, **{"save.bundle": False})
    assert "save.bundle" not in told(NetworkReader(), words=fitting + 1, family=family)


def test_a_checkpoint_whose_family_is_not_known_yet_is_not_taken_for_one_with_one_text_encoder(tmp_path):
    host = FakeHost(tmp_path, "sdxl")
    asked = {"name": "net", "dataset.folder": str(write_dataset(tmp_path / "images")), "dataset.captions": "own",
             "dataset.templates": ["[name]"], "network.method": "lora", "targets.text_encoder_2": True}
    host.family = "sd1"
    with pytest.raises(OptionError) as told:
        make_plan(asked, host)
    assert told.value.problems == {"targets.text_encoder_2": "tiny has one text encoder; only SDXL has a second."}
    host.family = "unknown"
    assert make_plan(asked, host).config.targets.text_encoder_2
