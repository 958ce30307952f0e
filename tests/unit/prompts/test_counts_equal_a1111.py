"""The counter against what the real AUTOMATIC1111 1.10.1 showed for the same strings and embeddings.

Recorded from its ui.update_token_counter at 20 steps; the strings have no schedule beside a stray bracket, where the
host's answer changes from start to start (see prompts/schedules.py).
"""

import json
from pathlib import Path

from pivotal.prompts.counting import count_tokens

HERE = Path(__file__).parent
EMBEDDINGS = {"zkwemb": 2, "my style word": 3, "bigemb": 40, "<angle>": 1}  # name -> vectors, as they were in the host


def test_every_string_has_a_recorded_count():
    strings = json.loads((HERE / "strings.json").read_text("utf-8"))
    recorded = json.loads((HERE / "a1111_counts.json").read_text("utf-8"))
    assert len(set(strings)) >= 220
    assert [case["text"] for case in recorded] == strings


def test_counts_and_limits_are_the_hosts(tokenizer):
    different = {}
    for case in json.loads((HERE / "a1111_counts.json").read_text("utf-8")):
        answer = count_tokens(case["text"], {"clip": tokenizer}, EMBEDDINGS)
        if (answer["count"], answer["limit"]) != (case["count"], case["limit"]):
            different[case["text"]] = (answer["count"], answer["limit"], case["count"], case["limit"])
    assert different == {}  # text -> our count and limit, theirs
