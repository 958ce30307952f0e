"""What may differ between a run and its continuation."""

from pivotal.config.build import draft
from pivotal.config.train import TrainConfig
from pivotal.jobs.resuming import changed_options, plain_options

FLAT = {"dataset.folder": "/images", "embeddings.0.placeholder": "zkteal"}


def options(**more):
    config, _ = draft(TrainConfig, FLAT | {key.replace("__", "."): value for key, value in more.items()})
    return config


def test_a_state_from_before_an_option_existed_had_it_at_its_default():
    before = plain_options(options())
    for key in ("augment.flip", "embeddings.0.rates"):
        del before[key]
    assert changed_options(before, options()) == {}
    assert changed_options(before, options(augment__flip=0.5)) == {"augment.flip": (0.0, 0.5)}


def test_a_row_more_is_a_change_even_with_nothing_in_it():
    changed = changed_options(plain_options(options()), options(embeddings__1__placeholder="<embedding>"))
    assert changed["embeddings.1.placeholder"] == (None, "<embedding>") and "embeddings.0.placeholder" not in changed
    assert changed_options(plain_options(options()), options(length__steps=9)) == {}  # it says nothing of the steps done
