"""Whole runs on more than one folder of images of one size."""

from __future__ import annotations

import json
import os
import time

import pytest
import torch
from PIL import Image

from fake_host import FakeHost, write_dataset
from pivotal.errors import OptionError
from pivotal.events import Finished, Measured, Noticed, Planned, StepDone
from pivotal.formats.embedding_file import read_embedding
from pivotal.formats.network_file import read_network
from pivotal.jobs.checks.plan import make_plan, planned_run
from pivotal.jobs.watch.plan_words import plan_lines
from runs import QUICK, carry_out, fingerprint

pytestmark = pytest.mark.once


def shaped(folder, sizes, word="zkteal"):
    """Pictures of `sizes` (width, height) with captions."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, size in enumerate(sizes):
        Image.new("RGB", size, (20 * index, 140, 140)).save(folder / f"{index:02d}.png")
        (folder / f"{index:02d}.txt").write_text(f"a {word} circle, number {index}", encoding="utf-8")
    return folder


def vectors(host_folder):
    return read_embedding(host_folder / "embeddings" / "zkteal.safetensors", 1)[0]


def planned(events):
    return next(event for event in events if isinstance(event, Planned))


def test_concepts_of_every_kind_are_trained_on_measured_and_told(tmp_path):
    rows = [{"image": str(path), "text": "a zkteal thing"} for path in write_dataset(tmp_path / "listed", 3).glob("*.png")]
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    changes = {
        "concepts__0__folder": str(tmp_path / "all.jsonl"), "concepts__0__repeats": 2, "concepts__0__loss_weight": 0.5,
        "concepts__1__folder": str(write_dataset(tmp_path / "others", 7, word="ball")), "concepts__1__kind": "regularization",
        "concepts__2__folder": str(write_dataset(tmp_path / "held", 3)), "concepts__2__kind": "validation",
        "concepts__3__folder": "nowhere", "concepts__3__enabled": False}
    host = FakeHost(tmp_path / "host")
    before = fingerprint(host)
    outcome, events = carry_out(host, write_dataset(tmp_path / "main", 4), measure__images=3, **changes)
    assert isinstance(events[-1], Finished) and fingerprint(host) == before
    plan = planned(events)
    assert [(concept.name, concept.kind, concept.images, pytest.approx(concept.per_epoch)) for concept in plan.concepts] == [
        ("main", "training", 4, 4), ("all", "training", 3, 6), ("others", "regularization", 7, 10), ("held", "validation", 3, 0)]
    assert plan.images_per_epoch == pytest.approx(20) and plan.epochs == pytest.approx(8 * 2 / 20)
    assert any(isinstance(event, Measured) and event.held_out for event in events)
    assert set(outcome.metrics) >= {"error_before", "error_after"}


def test_numbered_folders_train_as_often_as_they_say(tmp_path):
    write_dataset(tmp_path / "d" / "3_zkteal ring", 2)
    write_dataset(tmp_path / "d" / "1_ball", 2, word="ball")
    for path in (tmp_path / "d" / "3_zkteal ring").glob("*.txt"):
        path.unlink()
    plan = make_plan(QUICK | {"dataset.folder": str(tmp_path / "d"), "dataset.repeats_in_names": True, "length.epochs": 2},
                     FakeHost(tmp_path / "host"))
    assert plan.captions.all_texts() == ["a ball circle number 0", "a ball circle number 1", "zkteal ring"]
    assert plan.config.length.steps == 2 * 8 / 2
    _, events = carry_out(FakeHost(tmp_path / "host"), tmp_path / "d", dataset__repeats_in_names=True, length__epochs=2)
    assert len([event for event in events if isinstance(event, StepDone)]) == 8


MIXED = [(64, 64), (64, 128), (128, 64), (64, 64), (64, 128), (64, 72)]


@pytest.mark.parametrize("more", [{}, {"buckets__incomplete": "fill", "dataset__repeats": 1.5, "cache__latents": "off"},
                                  {"dataset__resolution": "64, 96", "buckets__step": 8, "augment__flip": 0.5}])
def test_a_resumed_run_on_mixed_sizes_ends_as_an_unbroken_one(tmp_path, more):
    images = shaped(tmp_path / "images", MIXED)
    changes = {"batch__size": 2, "batch__accumulation": 2, "caption__shuffle": True, "caption__tag_dropout": 0.2,
               "buckets__step": 16, "length__steps": 6} | more
    _, events = carry_out(FakeHost(tmp_path / "whole"), images, **changes)
    assert isinstance(events[-1], Finished) and len(planned(events).buckets) >= 3
    carry_out(FakeHost(tmp_path / "parts"), images, stop_after=3, **changes)
    with pytest.raises(OptionError) as error:  # another image would change the order
        carry_out(FakeHost(tmp_path / "parts"), images, resume=True, concepts__0__folder=str(images), **changes)
    assert "concepts.0.repeats" in error.value.problems and "concepts.0.folder" not in error.value.problems
    carry_out(FakeHost(tmp_path / "parts"), images, resume=True, **changes)
    assert torch.equal(vectors(tmp_path / "whole"), vectors(tmp_path / "parts"))


def test_regularization_and_weights_change_what_is_learned_and_a_weight_of_nothing_is_no_image(tmp_path):
    images, others = write_dataset(tmp_path / "images", 4), write_dataset(tmp_path / "others", 4, colour=(200, 20, 20))
    base = {"concepts__0__folder": str(others), "batch__size": 4, "length__steps": 4}
    runs = {"trained": {}, "kept": {"concepts__0__kind": "regularization"},
            "prior": {"concepts__0__kind": "regularization", "dataset__regularization": "prediction"},
            "silent": {"concepts__0__loss_weight": 0}, "silent prior": {"concepts__0__kind": "regularization",
                                                                       "dataset__prior_weight": 0}}
    found = {}
    for name, changes in runs.items():
        carry_out(FakeHost(tmp_path / name), images, **base, **changes)
        found[name] = vectors(tmp_path / name)
    # Of a regularization image the same is learned as of a training image: itself. Not so of a prediction.
    assert torch.equal(found["trained"], found["kept"]) and torch.equal(found["silent"], found["silent prior"])
    assert not torch.equal(found["trained"], found["prior"]) and not torch.equal(found["trained"], found["silent"])


def test_weighted_captions_are_learned_with_their_weights(tmp_path):
    images = write_dataset(tmp_path / "images", 2)
    for path in images.glob("*.txt"):
        path.write_text("a (zkteal:1.4) circle", encoding="utf-8")
    for name, weighted in (("plain", False), ("weighted", True)):
        _, events = carry_out(FakeHost(tmp_path / name), images, length__steps=2, caption__weighted=weighted)
        assert isinstance(events[-1], Finished)
    assert not torch.equal(vectors(tmp_path / "plain"), vectors(tmp_path / "weighted"))


def test_captions_with_sides_and_mirrored_images_are_noticed(tmp_path):
    images = write_dataset(tmp_path / "images", 2)
    (images / "00.txt").write_text("a zkteal circle, looking Left", encoding="utf-8")
    _, events = carry_out(FakeHost(tmp_path / "host"), images, length__steps=1, augment__flip=0.5)
    assert [event.key for event in events if isinstance(event, Noticed) and "left or right" in event.text] == ["augment.flip"]


def test_only_captions_of_mirrored_concepts_are_looked_at_for_sides(tmp_path):
    images, others = write_dataset(tmp_path / "images", 2), write_dataset(tmp_path / "others", 2)
    (others / "00.txt").write_text("a zkteal circle on the right", encoding="utf-8")
    flat = QUICK | {"dataset.folder": str(images), "concepts.0.folder": str(others)}
    for changes, is_told in (({"augment.flip": 0.5}, True), ({"augment.flip": 0.5, "concepts.0.flip": 0}, False),
                             ({"concepts.0.flip": 0.5}, True), ({"concepts.0.augment": "off", "augment.flip": 1}, False)):
        assert ("augment.flip" in make_plan(flat | changes, FakeHost(tmp_path)).notices) is is_told


def test_the_plan_says_how_images_and_steps_come_to_each_other(tmp_path):
    images = write_dataset(tmp_path / "images", 40)
    plan = make_plan(QUICK | {"dataset.folder": str(images), "dataset.repeats": 10, "batch.size": 4, "length.steps": 500},
                     FakeHost(tmp_path / "host"))
    told = planned_run(plan, FakeHost(tmp_path / "host"))
    assert plan_lines(told)[-1] == ("40 images x 10 repeats / batch 4 / accumulation 1 = 100 steps an epoch; "
                                    "500 steps are 5 epochs (2000 images seen).")
    assert sum(bucket.images for bucket in told.buckets) == 40 and told.enlarged == 0
    small = make_plan(QUICK | {"dataset.folder": str(images), "dataset.resolution": "128"}, FakeHost(tmp_path / "host"))
    assert planned_run(small, FakeHost(tmp_path / "host")).enlarged > 0


def test_a_share_of_the_images_is_only_measured_on(tmp_path):
    flat = QUICK | {"dataset.folder": str(write_dataset(tmp_path / "images", 8)), "measure.images": 2, "measure.share": 0.25,
                    "caption.dropout": 0.5, "augment.flip": 0.5, "concepts.0.kind": "regularization",
                    "concepts.0.folder": str(write_dataset(tmp_path / "others", 4, word="ball"))}
    plan = make_plan(flat, FakeHost(tmp_path / "host"))
    trained, held = ({item.path for item in captions.items} for captions in (plan.captions, plan.measured))
    assert (len(trained), len(held)) == (6 + 4, 2) and not trained & held
    assert all(path.parent.name == "images" for path in held)  # none of regularization
    (concept,) = plan.measured.concepts
    assert (concept.kind, concept.augment.flip, concept.wording.rules.dropout) == ("validation", 0, 0)
    with pytest.raises(OptionError, match="holds images back"):
        make_plan(flat | {"measure.images": 0}, FakeHost(tmp_path / "host"))


def test_what_is_wrong_with_a_concept_is_told_under_its_key(tmp_path):
    images = write_dataset(tmp_path / "images", 2)
    with pytest.raises(OptionError) as error:
        make_plan(QUICK | {"dataset.folder": str(images), "concepts.0.folder": str(tmp_path / "none"),
                           "concepts.1.kind": "training", "concepts.2.folder": str(images), "concepts.2.captions": "text",
                           "concepts.3.repeats": 0}, FakeHost(tmp_path))
    found = error.value.problems
    assert "does not exist" in found["concepts.0.folder"] and "needs the folder" in found["concepts.1.folder"]
    assert "needs a text" in found["concepts.2.text"] and "more than 0" in found["concepts.3.repeats"]
    with pytest.raises(OptionError) as error:
        make_plan(QUICK | {"dataset.folder": str(images), "concepts.0.folder": str(images), "concepts.0.repeats_in_names": True,
                           "caption.keep_separator": "a", "caption.delimiter": ""}, FakeHost(tmp_path))
    assert set(error.value.problems) == {"concepts.0.folder", "caption.delimiter"}
    with pytest.raises(OptionError) as error:
        make_plan(QUICK | {"concepts.0.folder": str(images), "concepts.0.kind": "regularization"}, FakeHost(tmp_path))
    assert list(error.value.problems) == ["dataset.folder"]
    assert make_plan(QUICK | {"concepts.0.folder": str(images)}, FakeHost(tmp_path)).captions.items


def test_what_is_allowed_and_perhaps_not_meant_is_noticed(tmp_path):
    images = write_dataset(tmp_path / "d" / "2023_zkteal photos", 3)
    (images / "00.txt").write_text("a (zkteal, round:1.2) circle", encoding="utf-8")
    plan = make_plan(QUICK | {"dataset.folder": str(tmp_path / "d"), "dataset.repeats_in_names": True, "length.steps": 1,
                              "caption.weighted": True, "caption.shuffle": True, "augment.flip": 0.5}, FakeHost(tmp_path))
    assert "2023 repeats" in plan.notices["dataset.repeats_in_names"]
    assert "2 of its 3 images" in plan.notices["length.steps"] and "(zkteal, round" in plan.notices["caption.weighted"]
    assert "augment.flip" not in plan.notices
    plan = make_plan(QUICK | {"dataset.folder": str(images), "caption.tags_to_drop": ["a"], "caption.keep_tags": 2,
                              "dataset.regularization": "prediction"}, FakeHost(tmp_path))
    assert set(plan.notices) == {"caption.tags_to_drop", "caption.keep_tags", "dataset.regularization"}


def test_a_placeholder_that_is_always_cut_off_is_told_before_the_start(tmp_path):
    images = write_dataset(tmp_path / "d", 2)
    for path in images.glob("*.txt"):
        path.write_text("word " * 80 + "zkteal", encoding="utf-8")
    flat = QUICK | {"dataset.folder": str(images)}
    with pytest.raises(OptionError) as error:
        make_plan(flat | {"caption.max_tokens": "75"}, FakeHost(tmp_path))
    assert list(error.value.problems) == ["embeddings.0.placeholder"]
    assert make_plan(flat | {"caption.max_tokens": "150"}, FakeHost(tmp_path)).captions.items


def test_regularization_images_get_none_of_the_runs_own_words(tmp_path):
    images, others = write_dataset(tmp_path / "d", 2), write_dataset(tmp_path / "others", 2, word="ball")
    flat = QUICK | {"dataset.folder": str(images), "dataset.captions": "own", "dataset.templates": ["a photo of [name]"],
                    "caption.trigger_word": "mara", "concepts.0.folder": str(others), "concepts.0.kind": "regularization"}
    plan = make_plan(flat, FakeHost(tmp_path))
    assert plan.captions.all_texts() == ["mara, a photo of zkteal", "a photo of zkteal"]
    assert "'zkteal'" in plan.notices["dataset.regularization"]
    plan = make_plan(flat | {"concepts.0.text": "ball"}, FakeHost(tmp_path))
    assert plan.captions.all_texts() == ["mara, a photo of zkteal", "a photo of ball"]
    assert "dataset.regularization" not in plan.notices


def test_a_concept_has_captions_sizes_and_changes_of_its_own(tmp_path):
    images = shaped(tmp_path / "images", [(64, 64)] * 2)
    others = shaped(tmp_path / "others", [(96, 96)] * 3)
    flat = QUICK | {"dataset.folder": str(images), "dataset.resolution": "64", "caption.tag_dropout": 0.5, "augment.flip": 1,
                    "caption.suffix": "here", "concepts.0.folder": str(others), "concepts.0.resolution": "64, 96",
                    "concepts.0.tag_dropout": 1.0, "concepts.0.keep_tags": 1, "concepts.0.suffix": "there",
                    "concepts.0.flip": 0, "buckets.step": 8}
    plan = make_plan(flat, FakeHost(tmp_path / "host"))
    told = planned_run(plan, FakeHost(tmp_path / "host"))
    assert [(bucket.size, bucket.images) for bucket in told.buckets] == [((64, 64), 5), ((96, 96), 3)]
    assert [concept.per_epoch for concept in told.concepts] == [2, 3]
    captions = plan.captions
    assert {captions.text(2, epoch) for epoch in range(9)} == {"a zkteal circle"}
    assert {captions.text(0, epoch) for epoch in range(99)} == {
        "a zkteal circle, number 0 here", "number 0 here", "a zkteal circle", ""}
    assert [concept.augment.flip for concept in captions.concepts] == [1, 0]
    _, events = carry_out(FakeHost(tmp_path / "host"), images, **{key.replace(".", "__"): value for key, value in flat.items()
                                                                  if key not in QUICK and key != "dataset.folder"})
    assert isinstance(events[-1], Finished)


def test_a_run_clears_old_encoded_images_away_and_keeps_its_own(tmp_path):
    host, images = FakeHost(tmp_path / "host"), write_dataset(tmp_path / "images", 2)
    base = {"cache__latents": "disk", "length__steps": 1}
    carry_out(host, images, **base)
    folder = host.folders().scratch / "cache" / "latents"
    own = set(folder.glob("*.safetensors"))
    carry_out(host, images, **base, dataset__resolution="128", name="other")
    foreign = set(folder.glob("*.safetensors")) - own
    assert len(own) == len(foreign) == 2

    def age(days):
        for path in folder.glob("*.safetensors"):
            os.utime(path, (time.time() - days * 86_400,) * 2)

    age(80)
    _, events = carry_out(host, images, **base)
    assert set(folder.glob("*.safetensors")) == own | foreign  # 80 days are not 90
    assert not [event for event in events if isinstance(event, Noticed) and event.key == "cache.keep_days"]
    age(100)
    _, events = carry_out(host, images, **base)
    assert set(folder.glob("*.safetensors")) == own
    (told,) = [event.text for event in events if isinstance(event, Noticed) and event.key == "cache.keep_days"]
    assert told.startswith("2 encoded images and captions of earlier runs") and str(folder.parent) in told
    age(2)
    _, events = carry_out(host, images, **base | {"cache__latents": "memory", "cache__keep_gb": 1e-9})
    assert not list(folder.glob("*.safetensors")) and isinstance(events[-1], Finished)


def test_captions_come_from_one_list_for_a_concept(tmp_path):
    """As OneTrainer's prompt source "concept" and A1111's template files: another line of one file each time."""
    images, others = write_dataset(tmp_path / "images", 2), write_dataset(tmp_path / "others", 2)
    (tmp_path / "lines.txt").write_text("\ufeffa zkteal ball\n\n[name] as [filewords]\n", encoding="utf-8")
    (tmp_path / "run.txt").write_text("zkteal\n", encoding="utf-8")
    flat = QUICK | {"dataset.folder": str(images), "concepts.0.folder": str(others), "concepts.0.captions": "list",
                    "concepts.0.caption_list": str(tmp_path / "lines.txt")}
    captions = make_plan(flat, FakeHost(tmp_path)).captions
    assert {captions.text(2, epoch) for epoch in range(30)} == {"a zkteal ball", "zkteal as a zkteal circle number 0"}
    assert captions.text(0, 0) == "a zkteal circle number 0"
    for path in others.glob("*.txt"):
        path.unlink()
    with pytest.raises(OptionError, match="no caption file") as error:  # which [filewords] needs
        make_plan(flat, FakeHost(tmp_path))
    assert list(error.value.problems) == ["concepts.0.folder"]
    run = flat | {"dataset.captions": "list", "concepts.0.caption_list": "", "concepts.0.captions": "as the run"}
    assert set(make_plan(run | {"dataset.caption_list": str(tmp_path / "run.txt")}, FakeHost(tmp_path)).captions.all_texts()) == {
        "zkteal"}
    (tmp_path / "empty.txt").write_text(" \n", encoding="utf-8")
    for changes, key, word in (({"dataset.caption_list": ""}, "dataset.caption_list", "needs the text file"),
                               ({"dataset.caption_list": str(tmp_path / "none.txt")}, "dataset.caption_list", "does not exist"),
                               ({"dataset.caption_list": str(tmp_path / "run.txt"), "concepts.0.caption_list": str(
                                   tmp_path / "empty.txt")}, "concepts.0.caption_list", "holds no line")):
        with pytest.raises(OptionError) as error:
            make_plan(run | changes, FakeHost(tmp_path))
        assert word in error.value.problems[key]


def test_captions_encoded_on_disk_teach_a_network_the_same(tmp_path):
    images = write_dataset(tmp_path / "images", 2)
    network = {"network__method": "lora", "network__rank": 2, "targets__text_encoder_1": False, "length__steps": 3, "alone": True}
    for name, kind, host in (("a", "auto", "x"), ("b", "disk", "y"), ("c", "disk", "y")):
        _, events = carry_out(FakeHost(tmp_path / host), images, **network, cache__text=kind, name=name)
        assert isinstance(events[-1], Finished)
    files = [tmp_path / host / "models" / "Lora" / f"{name}.safetensors" for name, host in (("a", "x"), ("b", "y"), ("c", "y"))]
    kept = list((tmp_path / "y").rglob("cache/text/*.safetensors"))
    assert len(kept) == 2 and not list((tmp_path / "x").rglob("cache/text/*"))
    first, *others = [read_network(path).layers for path in files]
    for other in others:
        assert all(torch.equal(tensor, other[key][part]) for key, parts in first.items() for part, tensor in parts.items())
