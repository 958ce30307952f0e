"""What is derived from the options says what the options say."""

from __future__ import annotations

import argparse
import json

from pivotal.config.build import build
from pivotal.config.derived import add_flags, docs_table, flags_to_flat, json_schema, metadata
from pivotal.config.options import everything, walk
from pivotal.config.train import TrainConfig


def test_every_option_has_a_flag_and_absent_flags_stay_absent():
    parser = argparse.ArgumentParser()
    add_flags(parser, TrainConfig)
    assert vars(parser.parse_args([])) == {}
    given = vars(parser.parse_args(["--optimizer.learning-rate", "1e-4", "--seed", "7"]))
    assert given == {"optimizer.learning_rate": "1e-4", "seed": "7"}
    assert "--samples.cfg-scale" in parser.format_help()


def test_flags_of_rows_are_read_and_what_is_none_is_left_over():
    flat, left = flags_to_flat(["--embeddings.0.token-count", "2", "--embeddings.0.placeholder=a b", "word", "--end"])
    assert flat == {"embeddings.0.token_count": "2", "embeddings.0.placeholder": "a b"} and left == ["word", "--end"]


def test_the_schema_is_json_and_has_ranges_choices_and_rows():
    schema = json.loads(json.dumps(json_schema(TrainConfig)))
    assert schema["properties"]["batch.size"]["minimum"] == 1
    assert schema["properties"]["samples.size"]["type"] == ["integer", "null"]
    row = schema["properties"]["embeddings"]["items"]["properties"]
    assert row["token_count"]["maximum"] == 75 and "pad" in row["fill"]["enum"]
    assert set(schema["properties"]) == {option.key for option in walk(TrainConfig)} | {"embeddings", "concepts"}


def test_the_table_has_a_line_for_each_option():
    lines = docs_table(TrainConfig).splitlines()[2:]
    assert len(lines) == len(list(everything(TrainConfig)))
    assert any("`embeddings.N.token_count`" in line and "1 .. 75" in line for line in lines)


def test_a_files_metadata_has_every_option_and_the_names_that_others_look_for():
    config = build(TrainConfig, {"dataset.folder": "d", "embeddings.0.placeholder": "zk", "seed": 5})
    facts = metadata(config)
    assert facts["pivotal.seed"] == facts["ss_seed"] == "5"
    assert facts["pivotal.embeddings.0.placeholder"] == "zk"
    assert all(isinstance(value, str) for value in facts.values())
