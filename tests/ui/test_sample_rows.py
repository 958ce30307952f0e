"""What the page's script is told, so that it writes rows of samples as lines that are read back as the same samples."""

import json

from pivotal.config.sample_lines import SampleLine, sample_line, sample_lines
from pivotal.ui.sample_rows import lines_schema

PROMPTS = "samples.prompts"


def test_every_field_but_the_prompt_has_a_flag_that_the_line_is_read_by():
    told = lines_schema(PROMPTS)
    assert json.loads(json.dumps(told)) == told
    lines, names = told["lines"], {field["name"] for field in told["fields"]}
    assert names == {lines["text"], *lines["flags"]} == {*SampleLine.__dataclass_fields__}
    values = dict(zip(lines["flags"], ("n", 64, 72, 3, 2.5, 4, "DDIM"), strict=True))
    text = " ".join(["a cat", *(f"--{flag} {values[name]}" for name, flag in lines["flags"].items())])
    assert sample_line(text) == SampleLine("a cat", *values.values())
    assert sample_lines([f"{lines['off']} a cat"]) == [] and told["can_be_off"]


def test_a_choice_can_be_left_to_the_run_and_every_name_of_it_is_known():
    told = lines_schema(PROMPTS)
    (sampler,) = (field for field in told["fields"] if field["name"] == "sampler")
    assert sampler["default"] == sampler["choices"][0] == "as the run"
    assert set(told["lines"]["names"]["sampler"].values()) == {*sampler["choices"][1:]}
    assert {field["name"]: field["empty"] for field in told["fields"]}["seed"] == "as the run"
