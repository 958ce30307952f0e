"""Whole runs with masks, regularization images and kept captions, each beside a run that must give the same, or not."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from fake_host import FakeHost, write_dataset
from pivotal.errors import OptionError
from pivotal.events import Finished, Measured, StepDone
from pivotal.formats.embedding_file import read_embedding
from pivotal.formats.network_file import read_network
from runs import carry_out, fingerprint

pytestmark = pytest.mark.once

NETWORK = {"network__method": "lora", "network__rank": 2, "targets__learning_rate": 0.01}


def with_masks(folder, shade):
    for path in write_dataset(folder).glob("*.png"):
        with Image.open(path) as image:
            Image.new("L", image.size, shade).save(path.with_name(f"{path.stem}-masklabel.png"))
    return folder


def vectors(folder):
    return read_embedding(folder / "embeddings" / "zkteal.safetensors", 1)[0]


def network(folder):
    layers = read_network(folder / "models" / "Lora" / "run.safetensors").layers
    return {(key, name): tensor for key, parts in layers.items() for name, tensor in parts.items()}


def losses(events):
    return [event.loss for event in events if isinstance(event, StepDone)]


def test_white_masks_are_no_masks_and_under_black_ones_nothing_is_learned(tmp_path):
    carry_out(FakeHost(tmp_path / "plain"), write_dataset(tmp_path / "images"))
    for name, shade, options in (("white", 255, {}), ("black", 0, {"mask__unmasked_weight": 0}),
                                 ("floor", 0, {"mask__unmasked_weight": 1})):
        masks = {"mask__source": "files", "mask__unmasked_probability": 0} | options
        _, events = carry_out(FakeHost(tmp_path / name), with_masks(tmp_path / f"{name} images", shade), **masks)
        assert isinstance(events[-1], Finished)
        if name == "black":
            assert losses(events) == [0] * 8
    carry_out(FakeHost(tmp_path / "still"), tmp_path / "images", optimizer__learning_rate=0)
    assert torch.equal(vectors(tmp_path / "white"), vectors(tmp_path / "plain"))
    assert torch.equal(vectors(tmp_path / "floor"), vectors(tmp_path / "plain"))
    assert torch.equal(vectors(tmp_path / "black"), vectors(tmp_path / "still"))
    assert not torch.equal(vectors(tmp_path / "plain"), vectors(tmp_path / "still"))


def test_masked_prior_preservation_holds_the_network_back(tmp_path):
    """Under black masks only the prior is learned: at first it is met exactly, and then it is never left."""
    masks = {"mask__source": "files", "mask__unmasked_probability": 0, "mask__unmasked_weight": 0, "mask__prior_weight": 1}
    images, host = with_masks(tmp_path / "images", 0), FakeHost(tmp_path / "a")
    before = fingerprint(host)
    _, events = carry_out(host, images, alone=True, **NETWORK, **masks)
    assert fingerprint(host) == before and max(losses(events)) < 1e-9
    # A network that was pulled away is drawn back.
    _, pulled = carry_out(FakeHost(tmp_path / "b"), images, alone=True, **NETWORK, **masks | {"mask__unmasked_weight": 0.5})
    assert losses(pulled)[0] > 0.1


def test_a_prior_is_the_model_before_the_run_and_costs_nothing_at_first(tmp_path):
    images, kept = write_dataset(tmp_path / "images"), write_dataset(tmp_path / "kept", count=6, word="zkteal")
    concept = {"concepts__0__folder": str(kept), "concepts__0__kind": "regularization", "dataset__loss_weight": 0,
               "dataset__regularization": "prediction", "length__steps": 6, "batch__size": 1}
    host = FakeHost(tmp_path / "a")
    before = fingerprint(host)
    _, events = carry_out(host, images, **NETWORK, **concept)
    assert fingerprint(host) == before and losses(events) == [0] * 6  # the images count nothing, the rest is met
    _, events = carry_out(FakeHost(tmp_path / "b"), images, **NETWORK, **concept | {"dataset__regularization": "images"})
    assert max(losses(events)) > 0.1


def test_a_prior_keeps_what_the_placeholder_stood_for(tmp_path):
    """An embedding that learns beside regularization images with its own word is drawn to where it began."""
    images, kept = write_dataset(tmp_path / "images"), write_dataset(tmp_path / "kept", count=6, colour=(200, 30, 30))
    concept = {"concepts__0__folder": str(kept), "concepts__0__kind": "regularization", "dataset__prior_weight": 100,
               "dataset__regularization": "prediction", "length__steps": 16}
    ends = {}
    for name, options in (("still", {"optimizer__learning_rate": 0}), ("free", {"dataset__prior_weight": 0}), ("held", {})):
        carry_out(FakeHost(tmp_path / name), images, **concept | options)
        ends[name] = vectors(tmp_path / name)
    assert (ends["held"] - ends["still"]).norm() < 0.8 * (ends["free"] - ends["still"]).norm()


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_kept_captions_change_nothing_but_the_time(tmp_path, family):
    images = write_dataset(tmp_path / "images")
    made = {}
    for text in ("auto", "off"):
        carry_out(FakeHost(tmp_path / text, family), images, alone=True, **NETWORK, cache__text=text,
                  caption__shuffle=True, caption__dropout=0.3)
        made[text] = network(tmp_path / text)
    assert made["auto"].keys() == made["off"].keys()
    for key, tensor in made["auto"].items():
        torch.testing.assert_close(tensor, made["off"][key], rtol=2e-2, atol=2e-3)  # fp16 files


def test_a_stopped_run_with_kept_captions_ends_as_an_unbroken_one(tmp_path):
    images = write_dataset(tmp_path / "images")
    changes = {"alone": True, "length__steps": 5, "measure__images": 2, "measure__every_steps": 2} | NETWORK
    carry_out(FakeHost(tmp_path / "whole"), images, **changes)
    carry_out(FakeHost(tmp_path / "parts"), images, stop_after=2, **changes)
    carry_out(FakeHost(tmp_path / "parts"), images, resume=True, **changes)
    whole, parts = network(tmp_path / "whole"), network(tmp_path / "parts")
    assert all(torch.equal(tensor, parts[key]) for key, tensor in whole.items())


def test_measurements_are_told_by_concept(tmp_path):
    images, held = write_dataset(tmp_path / "images"), write_dataset(tmp_path / "held", count=2)
    more = write_dataset(tmp_path / "more", count=2, colour=(250, 20, 20))
    concepts = {f"concepts__{index}__{key}": value for index, (name, folder) in enumerate((("teal", held), ("red", more)))
                for key, value in (("folder", str(folder)), ("name", name), ("kind", "validation"))}
    _, events = carry_out(FakeHost(tmp_path), images, measure__every_steps=4, measure__images=4, **concepts)
    told = [event for event in events if isinstance(event, Measured)]
    assert [event.step for event in told] == [0, 4, 8] and all(event.held_out for event in told)
    for event in told:
        assert set(event.by_concept) == {"teal", "red"}
        assert event.error == pytest.approx(sum(event.by_concept.values()) / 2)


@pytest.mark.parametrize(("changes", "key"), [
    ({"loss__v_like": 0.5, "objective__prediction": "v"}, "loss.v_like"),
    ({"loss__scale_v": True, "objective__prediction": "epsilon"}, "loss.scale_v"),
    ({"noise__offset_by_timestep": True}, "noise.offset_by_timestep"), ({"loss__mix": "l2 1"}, "loss.mix"),
    ({"loss__by_timestep": "0:0"}, "loss.by_timestep"), ({"samples__prompts": "a --w 1"}, "samples.prompts"),
    ({"timesteps__distribution": "heavy tail", "timesteps__strength": 2}, "timesteps.strength"),
    ({"timesteps__distribution": "inverted parabola", "timesteps__strength": 8, "timesteps__bias": 1}, "timesteps.bias")])
def test_what_cannot_be_is_said_under_its_option(tmp_path, changes, key):
    with pytest.raises(OptionError) as error:
        carry_out(FakeHost(tmp_path), write_dataset(tmp_path / "images"), **changes)
    assert list(error.value.problems) == [key]


def test_a_checkpoint_that_predicts_otherwise_is_told(tmp_path):
    _, events = carry_out(FakeHost(tmp_path), write_dataset(tmp_path / "images"), loss__scale_v=True)
    assert list(events[-1].problems) == ["loss.scale_v"]


def test_a_run_cuts_to_its_masks_and_learns_round_parts_of_them(tmp_path):
    """Of white masks, which are the whole image, cutting changes nothing; round parts do."""
    for name, options in (("whole", {}), ("cut", {"mask__crop": True}), ("round", {"mask__round_parts": True})):
        masks = {"mask__source": "files", "mask__unmasked_probability": 0, "mask__unmasked_weight": 0} | options
        host = FakeHost(tmp_path / name)
        before = fingerprint(host)
        _, events = carry_out(host, with_masks(tmp_path / f"{name} images", 255), length__steps=3, **masks)
        assert isinstance(events[-1], Finished) and fingerprint(host) == before
    assert torch.equal(vectors(tmp_path / "cut"), vectors(tmp_path / "whole"))
    assert not torch.equal(vectors(tmp_path / "round"), vectors(tmp_path / "whole"))
