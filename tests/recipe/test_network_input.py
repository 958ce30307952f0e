"""What a user may get wrong with networks: one sentence under its option, nothing overwritten, no code run."""

from __future__ import annotations

import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from fake_host import FakeHost, write_dataset
from pivotal.errors import OptionError
from pivotal.events import Failed, Finished, Noticed
from pivotal.formats.network_delta import alpha_of, rank_of
from pivotal.formats.network_file import read_network
from pivotal.jobs.checks.plan import make_plan
from pivotal.models.layers import layers_of
from runs import carry_out
from tiny import write_tiny, write_truncated

pytestmark = pytest.mark.once

LORA = {"network.method": "lora", "network.rank": 4, "network.alpha": 2, "targets.learning_rate": 0.01, "measure.images": 0,
        "length.steps": 2, "save.precision": "fp32"}


@pytest.fixture
def host(tmp_path):
    return FakeHost(tmp_path / "host")


@pytest.fixture
def images(tmp_path):
    return write_dataset(tmp_path / "images")


def go(host, folder, *, alone=True, **changes):
    return carry_out(host, folder, alone=alone, **LORA | {key.replace("__", "."): value for key, value in changes.items()})


def problems(host, folder, **changes):
    """What is said before anything is loaded."""
    with pytest.raises(OptionError) as error:
        go(host, folder, **changes)
    for text in error.value.problems.values():
        assert "Traceback" not in text and "\n" not in text and len(text) < 400
    assert not list(host.folders().loras.rglob("*.safetensors")) or "keep" in changes.get("name", "")
    return error.value.problems


def lora_of(host, folder, **changes):
    go(host, folder, **changes)
    return host.folders().loras / "run.safetensors"


@pytest.mark.parametrize(("changes", "key", "words"), [
    ({"network__rank": 0}, "network.rank", "at least 1"),
    ({"network__alpha": 0}, "network.alpha", "more than 0"),
    ({"network__method": "dylora", "network__rank": 5, "network__unit": 2}, "network.rank", "multiple"),
    ({"network__method": "oft", "network__rank": 1}, "network.rank", "2 or more"),
    ({"network__method": "oft", "network__dora": True}, "network.dora", "not for oft"),
    ({"targets__unet": False}, "targets.unet", "on nothing"),
    ({"targets__text_encoder_2": True}, "targets.text_encoder_2", "only SDXL"),
    ({"targets__filter": "("}, "targets.filter", "regular expression"),
    ({"blocks__weights": "1,1,1"}, "blocks.weights", "expected 9 numbers (IN00 to IN03, M00, OUT00 to OUT03), got 3"),
    ({"blocks__ranks": " ".join("1" * 25)}, "blocks.ranks", "expected 9 numbers"),
    ({"blocks__ranks": "1 1 1 1 1 1 1 1 1.5"}, "blocks.ranks", "whole"),
    ({"blocks__conv_ranks": "1 1 1 1 1 1 1 1 1"}, "network.conv_rank", "needs a number"),
    ({"network__rank_from_file": True}, "network.base_file", "name it"),
    ({"network__base_file": "missing.safetensors"}, "network.base_file", "does not exist"),
    ({"pivot__order": "embeddings first"}, "pivot.order", "needs an embedding"),
    ({"targets__stop_after": 5}, "targets.stop_unit", "other than never"),
    ({"targets__text_encoder_stop_after": 101, "targets__text_encoder_stop_unit": "percent"},
     "targets.text_encoder_stop_after", "at most 100"),
    ({"optimizer__kind": "prodigy"}, "targets.learning_rate", "about 1"),
    ({"optimizer__kind": "prodigy", "targets__learning_rate": 1, "blocks__weights": "cosine"}, "blocks.weights", "one rate"),
    ({"objective__zero_terminal_snr": "on", "objective__prediction": "epsilon"}, "objective.zero_terminal_snr", "pure noise"),
])
def test_options_that_cannot_be(host, images, changes, key, words):
    assert words in problems(host, images, **changes)[key]


def test_a_pivot_outside_the_run_is_refused(host, images):
    found = problems(host, images, alone=False, pivot__order="embeddings first", pivot__at=2)
    assert "not within the run's 2 steps" in found["pivot.at"]


def test_alpha_over_rank_and_options_that_a_method_lacks_are_told_of(host, images):
    _, events = go(host, images, network__method="loha", network__alpha=8, network__dropout=0.5)
    told = {event.key: event.text for event in events if isinstance(event, Noticed)}
    assert "Alpha 8 is more than rank 4" in told["network.alpha"] and "loha has no dropout" in told["network.dropout"]
    assert isinstance(events[-1], Finished)


def test_a_file_is_continued_with_its_own_rank_and_alpha(host, images, tmp_path):
    first = lora_of(host, images)
    kept = first.read_bytes()
    base = tmp_path / "base.safetensors"
    base.write_bytes(kept)
    _, events = go(host, images, name="next", network__rank=16, network__base_file=str(base), network__rank_from_file=True,
                   targets__learning_rate=0)
    assert isinstance(events[-1], Finished), events[-1]
    assert base.read_bytes() == kept
    again = read_network(host.folders().loras / "next.safetensors").layers
    for key, parts in read_network(base).layers.items():
        assert (rank_of(again[key]), alpha_of(again[key])) == (4, 2.0)
        assert torch.equal(again[key]["lora_up.weight"], parts["lora_up.weight"])


def test_another_rank_than_the_files_is_refused_with_the_remedy(host, images):
    base = lora_of(host, images)
    outcome, events = go(host, images, name="next", network__rank=8, network__base_file=str(base))
    assert outcome is None and isinstance(events[-1], Failed)
    assert "Rank from the file" in events[-1].problems["network.base_file"]
    assert not (host.folders().loras / "next.safetensors").exists()


def test_layers_that_this_run_would_lose_are_named(host, images):
    base = lora_of(host, images, targets__text_encoder_1=True)
    outcome, events = go(host, images, name="next", network__base_file=str(base))
    assert outcome is None and "would be lost" in events[-1].problems["network.base_file"]


@pytest.mark.parametrize("style", ["diffusers", "te1"])
def test_files_of_other_key_styles_are_continued(host, images, tmp_path, style):
    base = lora_of(host, images, targets__text_encoder_1=True)
    other = tmp_path / "other.safetensors"
    tensors = load_file(base)
    if style == "diffusers":
        parts = {"unet": "unet", "te1": "text_encoder"}
        names = {layer.key: f"{parts[layer.part]}.{layer.path}" for layer in layers_of(host.model)}
        changed = {}
        for layer in {key.partition(".")[0] for key in tensors}:
            changed[f"{names[layer]}.lora_A.weight"] = tensors[f"{layer}.lora_down.weight"]
            changed[f"{names[layer]}.lora_B.weight"] = tensors[f"{layer}.lora_up.weight"] * 0.5  # alpha / rank folded in
        save_file(changed, other)
    else:
        save_file({key.replace("lora_te_", "lora_te1_"): tensor for key, tensor in tensors.items()}, other)
    _, events = go(host, images, name="next", network__base_file=str(other), targets__text_encoder_1=True,
                   targets__learning_rate=0, targets__text_encoder_1_rate=0, network__rank_from_file=True)
    assert isinstance(events[-1], Finished), events[-1]
    again, wanted = (read_network(path).layers for path in (host.folders().loras / "next.safetensors", base))
    assert set(again) == set(wanted)
    for key, parts in wanted.items():
        delta, other_delta = (p["lora_up.weight"].flatten(1) @ p["lora_down.weight"].flatten(1) * alpha_of(p) / rank_of(p)
                              for p in (parts, again[key]))
        torch.testing.assert_close(other_delta, delta)


def test_words_in_a_continued_file_go_on_and_those_without_a_row_are_carried_along(host, images):
    for path in images.glob("*.txt"):
        path.write_text("zkteal zkother", encoding="utf-8")
    base = lora_of(host, images, alone=False, embeddings__1__placeholder="zkother")
    before = read_network(base).embeddings
    _, events = go(host, images, name="next", alone=False, network__base_file=str(base), optimizer__learning_rate=0,
                   embeddings__0__token_count=None, embeddings__0__initial_text="something else")
    assert isinstance(events[-1], Finished), events[-1]
    after = read_network(host.folders().loras / "next.safetensors").embeddings
    assert set(after) == {"zkteal", "zkother"}
    assert all(torch.equal(after[word][0], before[word][0]) for word in before)


def test_a_file_of_another_family_or_method_is_refused(host, images, tmp_path):
    xl = lora_of(FakeHost(tmp_path / "xl", "sdxl"), images)
    found = problems(host, images, network__base_file=str(xl))
    assert "is a network for Stable Diffusion XL; the checkpoint is Stable Diffusion 1.x" in found["network.base_file"]
    loha = lora_of(FakeHost(tmp_path / "b"), images, network__method="loha")
    assert "holds loha" in problems(host, images, network__base_file=str(loha))["network.method"]
    dora = lora_of(FakeHost(tmp_path / "c"), images, network__dora=True)
    assert "with DoRA" in problems(host, images, network__base_file=str(dora))["network.dora"]


class Bomb:
    """Runs when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


def test_damaged_and_foreign_files_are_refused_and_no_code_in_them_runs(host, images, tmp_path):
    truncated = write_truncated(tmp_path / "short.safetensors")
    empty = tmp_path / "empty.safetensors"
    empty.write_bytes(b"")
    bomb, mark = tmp_path / "evil.pt", tmp_path / "mark"
    bomb.write_bytes(pickle.dumps({"lora_unet_x.lora_up.weight": Bomb(mark)}))
    words = {truncated: "not a whole safetensors", empty: "0 bytes", bomb: "without running code",
             write_tiny(tmp_path / "checkpoint.safetensors"): "checkpoint"}
    for path, text in words.items():
        assert text in problems(host, images, network__base_file=str(path))["network.base_file"]
    for path in (truncated, empty, bomb):
        found = problems(host, images, alone=False, embeddings__0__base_embedding=str(path))
        assert "embeddings.0.base_embedding" in found
    assert not mark.exists()


def test_a_word_with_a_dot_that_would_break_the_bundle_is_refused_before_the_run(host, images):
    found = problems(host, images, alone=False, embeddings__0__placeholder="zk.teal")
    assert "dot" in found["embeddings.0.placeholder"]


def test_an_older_file_is_kept_or_the_run_refused(host, images):
    first = lora_of(host, images).read_bytes()
    assert "exists" in make_problems(host, images)["name"]
    _, events = go(host, images, seed=2)
    kept = list((host.folders().scratch / "runs" / "run" / "replaced").glob("run-*.safetensors"))
    assert [path.read_bytes() for path in kept] == [first]
    assert any("is kept as" in event.text for event in events if isinstance(event, Noticed))


def make_problems(host, images):
    flat = LORA | {"name": "run", "dataset.folder": str(images), "save.existing": "refuse"}
    with pytest.raises(OptionError) as error:
        make_plan(flat, host)
    return error.value.problems
