"""Networks in a real browser, on a tiny checkpoint: train one with a word, prompt with its tag, and use a tool on its file."""

import numpy as np
import pytest
import torch

from fake_host import write_dataset
from pivotal.formats.network_file import read_network
from tiny import write_tiny

from .conftest import WebUI, served, show_tab
from .test_first_run import generate

pytestmark = pytest.mark.browser

RUN = """
name: zknet
dataset: {{folder: "{folder}", resolution: 64, captions: object}}
embeddings: [{{placeholder: zkteal, token_count: 2, initial_text: green}}]
network: {{method: lora, rank: 4}}
targets: {{learning_rate: 0.02}}
optimizer: {{learning_rate: 0.05}}
length: {{steps: {steps}}}
batch: {{size: 2}}
samples: {{every_steps: 0}}
"""


@pytest.fixture(scope="module")
def webui(tmp_path_factory, open_page):
    folder = tmp_path_factory.mktemp("networks")
    write_tiny(folder / "tiny.safetensors", dtype=torch.float32)
    write_dataset(folder / "images", 4)
    with served(folder / "data", "--checkpoint", str(folder / "tiny.safetensors")) as address:
        yield WebUI(address, folder, open_page)


@pytest.fixture
def page(webui):
    page = webui.open_tab("txt2img")
    yield page
    page.close()


def unfold(page, identifier: str) -> None:
    page.locator(f"#{identifier} .label-wrap").first.click()


def train(page, webui, steps: int) -> None:
    """Fills the form from a run file, presses Train, and waits for the end of that very run."""
    show_tab(page, "Train")
    box = page.locator("#pivotal_run_file textarea")
    if not box.is_visible():
        unfold(page, "pivotal_section_run_file")
    box.fill(RUN.format(folder=(webui.data / "images").as_posix(), steps=steps))
    page.locator("#pivotal_from_run_file").click()
    page.wait_for_function(f"document.querySelector('#pivotal_length_steps :is(input, textarea)').value === '{steps}'")
    slot = "#pivotal_progress .pivotal-slot"
    before = page.locator(slot).first.get_attribute("data-pivotal-run")
    page.locator("#pivotal_start").click()
    page.wait_for_function("""([slot, before]) => document.querySelector(slot).dataset.pivotalRun !== before
                              && document.querySelector(`${slot} .pivotal-badge:is(.pivotal-finished, .pivotal-failed)`)""",
                           arg=[slot, before])
    progress = page.locator("#pivotal_progress")
    assert progress.locator(".pivotal-badge").first.inner_text() == "Finished", progress.first.inner_text()
    show_tab(page, "txt2img")


def same(one, other) -> bool:
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(one, other, strict=True))


def test_the_tag_of_a_trained_network_brings_its_word_and_is_never_stale(webui, page, screenshot):
    prompt = "a zkteal circle"
    tagged = f"{prompt}<lora:zknet:1>"
    plain = generate(page, prompt)
    train(page, webui, steps=3)
    first = generate(page, tagged)
    screenshot(page, "with_the_tag")
    assert not same(first, plain)
    assert not same(first, generate(page, "a circle<lora:zknet:1>"))  # the word does something
    train(page, webui, steps=5)
    second = generate(page, tagged)
    assert not same(second, first)
    assert same(generate(page, prompt), plain)  # without the tag all is as before


def test_a_tool_is_used_in_the_page(webui, page, screenshot):
    source = webui.data / "data" / "models" / "Lora" / "zknet.safetensors"
    if not source.is_file():
        train(page, webui, steps=3)
    show_tab(page, "Train")
    show_tab(page, "Tools")
    unfold(page, "pivotal_tools_resize")

    def fill(key: str, text: str) -> None:
        page.locator(f"#pivotal_tools_resize_{key} :is(textarea, input)").first.fill(text)

    fill("rank", "0")
    page.locator("#pivotal_tools_resize_run").click()
    problem = page.locator("#pivotal_tools_resize_rank .pivotal-problem")
    problem.wait_for()
    assert problem.inner_text() == "expected at least 1, got 0"
    screenshot(page, "problem")
    fill("rank", "2")
    fill("source", str(source))
    fill("target", str(webui.data / "small"))
    page.locator("#pivotal_tools_resize_run").click()
    page.locator("#pivotal_tools_resize .pivotal-tool-done").wait_for()
    problem.wait_for(state="detached")
    screenshot(page, "done")
    small, whole = read_network(webui.data / "small.safetensors"), read_network(source)
    assert {parts["lora_down.weight"].shape[0] for parts in small.layers.values()} == {2}
    assert {parts["lora_down.weight"].shape[0] for parts in whole.layers.values()} == {4}
    assert list(small.embeddings) == ["zkteal"]
