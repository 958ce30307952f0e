"""Whatever is typed, loaded or sent as a run's options: a config comes of it, or one sentence for each bad key."""

from __future__ import annotations

import math
import random
import re

import pytest

from pivotal.config.build import build, coerce, draft, options_of
from pivotal.config.files import dump_run, parse_run
from pivotal.config.options import everything, flatten, tables, walk
from pivotal.config.rules import notices_between
from pivotal.config.train import TrainConfig
from pivotal.errors import OptionError

RUNS = 10_000
OPTIONS = {option.key: option for option in everything(TrainConfig)}
TABLES = [table.key for table in tables(TrainConfig)]
ENOUGH = {"dataset.folder": "images", "embeddings.0.placeholder": "zkteal"}
# As they come from a widget, a flag, JSON or YAML; none of them means anything in particular.
ANYTHING = [
    "", " ", "\n", "abc", "nan", "inf", "-inf", "1e400", "1,5", "0x10", "1_000", "٣", "½", "true", "False", "on", "None",
    "[]", "{}", "(", "a" * 5000, "ä\u0000\u202e日本", "\ud800", "../..", "C:\\x\\", "<lora:a:1>", "{a|b", "[name", "%s", ":",
    "1:2:3", "0:0, 50%:1", ";", "--n --w", "1/0", "9**9**9", "__import__('os')", "*", "(?P<", None, True, False, 0, 1, -1, 7,
    64, 75, 512, 2**31, 2**53 + 1, -(2**63), 10**400, 0.0, -0.0, 0.5, 1.0, 1e-320, 1e308, float("nan"), float("inf"),
    -float("inf"), [], [None], ["a", 1], [["a"]], [{}], (), ("x",), {}, {"a": 1}, b"bytes", {1},
]  # fmt: skip


def a_good_value(option, dice: random.Random):
    """A value inside the option's own limits, near their ends as often as not."""
    spec = option.spec
    if option.optional and dice.random() < 0.3:
        return None
    if option.choices:
        return dice.choice(option.choices)
    if option.type is bool:
        return dice.random() < 0.5
    if option.type is tuple:
        return [dice.choice(["a photo of [name]", "zkteal", "x --w 64", "1"]) for _ in range(dice.randrange(3))]
    if option.type is str:
        return dice.choice(["", "a", "ZKTEAL", ".txt", "512", "512, 768", "640x512", "1, 2", "a b", "images", option.default,
                            "0.005:100, 1e-3", "0:0, 10%:1", "p * p", "mse 0.7, l1 0.3", "0:1, 500:0.5", "cosine+0.1"])
    low = spec.ge if spec.ge is not None else (spec.above if spec.above is not None else -1000)
    high = spec.le if spec.le is not None else 1e6
    value = dice.choice([low, high, option.default or low, dice.uniform(low, high)])
    return round(value) if option.type is int else value


def random_run(dice: random.Random) -> dict:
    """A few or many keys of the whole tree, most of them good in every second run, with rows, strays and near misses."""
    flat = dict(ENOUGH) if dice.random() < 0.7 else {}
    wild = dice.choice([0.0, 0.0, 0.05, 0.5])
    for key in dice.sample([*OPTIONS], dice.choice([1, 2, 3, 10, 40])):
        value = dice.choice(ANYTHING) if dice.random() < wild else a_good_value(OPTIONS[key], dice)
        flat[key.replace(".N.", f".{dice.randrange(3)}.")] = value
    if wild and dice.random() < 0.2:
        table = dice.choice(TABLES)
        flat[
            dice.choice(
                [
                    "",
                    "a.b.c",
                    table,
                    f"{table}.0",
                    f"{table}.-1.train",
                    f"{table}.99999999999.train",
                    f"{table}.٣.train",
                    f"{table}.00.train",
                    "name.x",
                    "optimizer",
                    "lenght.steps",
                    "\ud800",
                ]
            )
        ] = dice.choice(ANYTHING)
    return flat


def is_a_sentence(text: str) -> bool:
    return 3 < len(text) < 6000 and "Traceback" not in text and "object at 0x" not in re.sub(r"got .*", "", text,
    flags=re.S)


@pytest.mark.once
def test_ten_thousand_random_runs_build_or_say_why_not():
    """Every second run has only values inside their options' limits, so that the rules between options are met, too."""
    built = refused = 0
    for number in range(RUNS):
        flat = random_run(random.Random(number))
        known = options_of(TrainConfig, flat)
        made, problems = draft(TrainConfig, flat)
        for key, text in problems.items():
            assert isinstance(text, str) and is_a_sentence(text), (number, key, text)
            assert key in known or key in flat or key in TABLES, (number, key, text)
        if problems:
            refused += 1
            with pytest.raises(OptionError) as error:
                build(TrainConfig, flat)
            assert error.value.problems == problems
        else:
            built += 1
            for key, text in notices_between(made).items():
                assert isinstance(text, str) and is_a_sentence(text), (number, key, text)
            if number % 16 == 0:  # YAML is slow
                assert build(TrainConfig, parse_run(dump_run(made), "here")) == made, number
            assert build(TrainConfig, flatten(made)) == made, number
    assert built > RUNS / 20 and refused > RUNS / 4, (built, refused)


def bad_values(option):
    """(what it is, value) for one option: each must be refused under the option's own key."""
    if option.type in (int, float):
        yield from (
            ("text", "abc"),
            ("nan", float("nan")),
            ("inf", "inf"),
            ("switch", True),
            ("list", [1]),
            ("mapping", {"a": 1}),
        )
        low, high, above = option.spec.ge, option.spec.le, option.spec.above
        if option.type is int:
            yield "half", 1.5
        if low is not None:
            yield "too small", low - 1
        if above is not None:
            yield from (("at the end", above), ("too small", above - 1))
        if high is not None:
            yield "too large", high + 1
        if not option.optional:
            yield from (("nothing", None), ("empty", " "))
    elif option.type is bool:
        yield from (("text", "yes"), ("number", 1), ("list", [True]), ("nothing", None))
    elif option.choices:
        yield from (("no such choice", "no such choice"), ("number", 3), ("list", ["none"]))
        if not option.optional:
            yield "nothing", None
    elif option.type is str:
        yield from (("list", ["a"]), ("mapping", {"a": 1}))
    else:
        yield from (("number", 3), ("switch", True), ("mapping", {"a": 1}))


@pytest.mark.parametrize("key", [*OPTIONS])
def test_a_bad_value_of_any_option_is_told_under_its_key(key):
    here = key.replace(".N.", ".0.")
    seen = 0
    for what, value in bad_values(OPTIONS[key]):
        problems = draft(TrainConfig, {**ENOUGH, here: value})[1]
        assert here in problems, f"{key} takes {value!r} ({what})"
        assert is_a_sentence(problems[here])
        seen += 1
    assert seen >= 2


def test_a_number_outside_its_limits_is_told_with_the_limit():
    for option in walk(TrainConfig):
        if option.spec.le is not None:
            with pytest.raises(ValueError, match="at most"):
                coerce(option, math.ceil(option.spec.le) + 1)


@pytest.mark.parametrize("text", [
    "&a {b: *a}", "a: &x {b: {c: {d: {e: *x}}}}", "embeddings: &r [{placeholder: *r}]", "1: 2", "null: 1", "? [a]\n: b",
    "embeddings: {0: {placeholder: a}}", "a: !!python/object:os.x {}", "\x00", "embeddings: [1, {placeholder: a}]",
    "optimizer: 3", "name: 2020-01-01",
])  # fmt: skip
def test_a_strange_file_is_refused_in_words(text):
    with pytest.raises(OptionError) as error:
        build(TrainConfig, parse_run(text, "run.yaml"))
    assert all(map(is_a_sentence, error.value.problems.values()))
