"""The tools' panels: drawn from the table of tools, and telling how it went."""

from __future__ import annotations

import html
import json
import re

import gradio as gr
import pytest
import torch

from pivotal.config.options import walk
from pivotal.formats.network_file import network_bytes, read_network
from pivotal.tools.registry import TOOLS
from pivotal.ui.tools import ToolPanel, draw_tools

LAYER = "lora_unet_mid_block_attentions_0_proj_in"


def network(rank):
    generator = torch.Generator().manual_seed(rank)
    parts = {"lora_up.weight": torch.randn(32, rank, 1, 1, generator=generator), "alpha": torch.tensor(float(rank)),
             "lora_down.weight": torch.randn(rank, 32, 1, 1, generator=generator)}
    return network_bytes({LAYER: parts}, {}, {})


def panel(name):
    with gr.Blocks(analytics_enabled=False):
        return ToolPanel(TOOLS[name])


def pressed(drawn, **values):
    """The answer to a press of the button, with `values` in the fields: its HTML, and the problems it puts under fields."""
    shown = {option.key: option.default for option in drawn.options} | values
    answer = drawn.run(*(shown[option.key] for option in drawn.options))
    text = answer["value"] if isinstance(answer, dict) else answer.value
    problems = json.loads(html.unescape(re.search('data-pivotal-problems="([^"]*)"', text)[1]))
    return text, problems


def test_every_tool_has_its_panel_and_no_two_widgets_share_an_id():
    with gr.Blocks(analytics_enabled=False) as page:
        draw_tools()
    identifiers = [block.elem_id for block in page.blocks.values() if getattr(block, "elem_id", None)]
    assert len(set(identifiers)) == len(identifiers)
    expected = {f"pivotal_tools_{tool.name.replace('-', '_')}_{option.key}"
                for tool in TOOLS.values() for option in walk(tool.section)}
    assert len(expected) > 40
    assert expected <= set(identifiers)
    assert {f"pivotal_tools_{name.replace('-', '_')}_run" for name in TOOLS} <= set(identifiers)


def test_a_tool_does_its_work_and_names_its_file(tmp_path):
    (tmp_path / "big.safetensors").write_bytes(network(6))
    text, problems = pressed(panel("resize"), source=str(tmp_path / "big.safetensors"), target=str(tmp_path / "small"), rank=2)
    assert problems == {}
    assert str(tmp_path / "small.safetensors") in text
    assert read_network(tmp_path / "small.safetensors").layers[LAYER]["lora_down.weight"].shape[0] == 2


def test_problems_stand_under_the_tools_own_fields():
    text, problems = pressed(panel("resize"), rank=0, method="sv_ratio", amount="1<b>")
    assert set(problems) == {"tools.resize.rank", "tools.resize.amount"}
    assert "1<b>" not in text
    assert "Rank" in text


@pytest.mark.parametrize(("name", "key"), [("split-bundle", "source"), ("rename-embedding", "source")])
def test_an_empty_path_is_told_under_its_field(name, key):
    assert f"tools.{name.replace('-', '_')}.{key}" in pressed(panel(name))[1]


def test_what_a_file_is_not_is_told_in_a_sentence(tmp_path):
    (tmp_path / "odd.safetensors").write_bytes(b"x" * 100)
    text, problems = pressed(panel("split-bundle"), source=str(tmp_path / "odd.safetensors"))
    assert problems == {}
    assert "odd.safetensors is not a whole safetensors file" in text


def test_a_failure_that_nobody_foresaw_is_logged_and_told(monkeypatch, caplog):
    drawn = panel("resize")

    def fail(_settings):
        raise ZeroDivisionError("inside")

    monkeypatch.setattr("pivotal.ui.tools.carry_out", fail)
    text, _ = pressed(drawn)
    assert "That did not work: ZeroDivisionError" in text
    assert "inside" in caplog.text


def test_options_that_depend_on_another_are_hidden_until_it_says_so():
    drawn = panel("resize")
    assert [key for key, box in drawn._boxes.items() if not box.visible] == ["amount"]
