"""What is said of options of sizes, changes and caches that do not go together."""

from __future__ import annotations

import pytest

from pivotal.config.build import draft
from pivotal.config.rules import notices_between
from pivotal.config.train import TrainConfig

GOOD = {"dataset.folder": "images", "embeddings.0.placeholder": "zk"}


def problems(**changes):
    return draft(TrainConfig, GOOD | {key.replace("__", "."): value for key, value in changes.items()})[1]


def test_what_is_usual_is_good():
    assert problems() == {}
    assert problems(dataset__resolution=512) == {}  # a number, as in older run files
    assert problems(dataset__resolution="512, 768", buckets__kind="no upscale", augment__flip=0.5) == {}


@pytest.mark.parametrize(("changes", "key", "word"), [
    ({"dataset__resolution": "500"}, "dataset.resolution", "multiple of 8"),
    ({"dataset__resolution": "wide"}, "dataset.resolution", "'wide'"),
    ({"buckets__step": 20}, "buckets.step", "multiple of 8, got 20"),
    ({"buckets__minimum": 1024, "buckets__maximum": 512}, "buckets.maximum", "shortest side, 1024"),
    ({"buckets__step": 256, "dataset__resolution": "128"}, "buckets.step", "more than the resolution, 128 px"),
    ({"buckets__kind": "exact sizes", "dataset__resolution": "512, 768"}, "dataset.resolution", "exact sizes"),
    ({"augment__rotation": 5}, "augment.versions", "several versions"),
    ({"augment__random_crop": True, "cache__latents": "disk"}, "augment.versions", "several versions")])
def test_what_cannot_be_is_told_under_its_key(changes, key, word):
    assert word in problems(**changes)[key]


@pytest.mark.parametrize("changes", [{"augment__flip": 0.5}, {"augment__hue": 0.1, "augment__versions": 4},
                                     {"augment__hue": 0.1, "cache__latents": "off"}])
def test_changes_that_a_cache_can_keep_are_good(changes):
    assert problems(**changes) == {}


@pytest.mark.parametrize(("changes", "key"), [
    ({"augment__versions": 3}, "augment.versions"), ({"augment__versions": 3, "augment__flip": 0.5}, "augment.versions"),
    ({"augment__versions": 3, "augment__hue": 0.1, "cache__latents": "off"}, "augment.versions"),
    ({"cache__sampling": "once", "cache__latents": "off"}, "cache.sampling")])
def test_what_is_perhaps_not_meant_is_told(changes, key):
    config, found = draft(TrainConfig, GOOD | {key.replace("__", "."): value for key, value in changes.items()})
    assert found == {} and key in notices_between(config)


ROW = {"concepts__0__folder": "more"}


@pytest.mark.parametrize(("changes", "key", "word"), [
    ({"concepts__0__resolution": "500"}, "concepts.0.resolution", "multiple of 8"),
    ({"concepts__0__resolution": "128", "buckets__step": 256}, "buckets.step", "more than the resolution, 128 px"),
    ({"concepts__0__resolution": "512", "buckets__kind": "exact sizes"}, "concepts.0.resolution", "leave it empty"),
    ({"concepts__0__hue": 0.1}, "augment.versions", "several versions"),
    ({"concepts__0__random_crop": "on"}, "augment.versions", "several versions"),
    ({"caption__tag_patterns": "regular expressions", "caption__tags_to_keep": ["a", "(b"]}, "caption.tags_to_keep", "'(b'"),
    ({"caption__tag_patterns": "regular expressions", "concepts__0__tags_to_drop": ["*"]}, "concepts.0.tags_to_drop", "'*'"),
    ({"concepts__0__shuffle": "on", "caption__delimiter": " "}, "caption.delimiter", "parts tags")])
def test_what_cannot_be_in_a_concept_is_told_under_its_key(changes, key, word):
    assert word in problems(**ROW, **changes)[key]


@pytest.mark.parametrize("changes", [
    {"augment__hue": 0.1, "augment__versions": 2, "concepts__0__hue": 0}, {"concepts__0__flip": 0.5},
    {"concepts__0__hue": 0.1, "concepts__0__kind": "validation"}, {"concepts__0__hue": 0.1, "concepts__0__enabled": False},
    {"concepts__0__tags_to_drop": ["("]}, {"concepts__0__resolution": "512, 768", "concepts__0__tag_dropout": 0.5}])
def test_what_a_concept_may_have_of_its_own_is_good(changes):
    assert problems(**ROW, **changes) == {}


def test_lists_of_tags_are_used_where_only_a_concept_drops_tags():
    for own, told in ((None, {"caption.tags_to_keep"}), (0.2, set())):
        config, _ = draft(TrainConfig, GOOD | {"caption.tags_to_keep": ["a"], "concepts.0.folder": "more",
                                               "concepts.0.tag_dropout": own})
        assert notices_between(config).keys() & {"caption.tags_to_keep"} == told
