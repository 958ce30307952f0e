"""Networks in a real browser, on a tiny checkpoint: train one with a word, prompt with its tag, and use a tool on its file."""

import numpy as np
import pytest

from fake_host import write_dataset
from pivotal.formats.network_file import read_network

from .conftest import show_tab, wait_until, write
from .test_first_run import generate

pytestmark = pytest.mark.browser

RUN = """
name: zknet
dataset: {{folder: "{folder}", resolution: 64, captions: object}}
embeddings: [{{placeholder: zknet, token_count: 2, initial_text: green}}]
network: {{method: lora, rank: 4}}
targets: {{learning_rate: 0.02}}
optimizer: {{learning_rate: 0.05}}
length: {{steps: {steps}}}
batch: {{size: 2}}
samples: {{every_steps: 0}}
"""


@pytest.fixture(scope="module")
def images(webui):
    return write_dataset(webui.data / "images", 4)


@pytest.fixture
def page(webui):
    page = webui.open_tab("txt2img")
    yield page
    page.close()


def unfold(page, identifier: str) -> None:
    page.locator(f"#{identifier} .label-wrap").first.click()


def train(page, images, steps: int) -> None:
    """Fills the form from a run file, presses Train, and waits for the end of that very run."""
    show_tab(page, "Train")
    box = page.locator("#pivotal_run_file textarea")
    if not box.is_visible():
        unfold(page, "pivotal_section_run_file")
    write(box, RUN.format(folder=images.as_posix(), steps=steps))
    page.locator("#pivotal_from_run_file").click()
    wait_until(page, f"document.querySelector('#pivotal_length_steps :is(input, textarea)').value === '{steps}'")
    slot = "#pivotal_progress .pivotal-slot"
    before = page.locator(slot).first.get_attribute("data-pivotal-run")
    page.locator("#pivotal_start").click()
    wait_until(page, """document.querySelector(arg[0]).dataset.pivotalRun !== arg[1]
        && document.querySelector(`${arg[0]} .pivotal-badge:is(.pivotal-finished, .pivotal-failed)`)""", [slot, before])
    progress = page.locator("#pivotal_progress")
    assert progress.locator(".pivotal-badge").first.inner_text() == "Finished", progress.first.inner_text()
    show_tab(page, "txt2img")


def same(one, other) -> bool:
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(one, other, strict=True))


def test_the_tag_of_a_trained_network_brings_its_word_and_is_never_stale(images, page, screenshot):
    prompt = "a zknet circle"
    tagged = f"{prompt}<lora:zknet:1>"
    plain = generate(page, prompt, 1, 3)
    train(page, images, steps=3)
    first = generate(page, tagged, 1, 3)
    screenshot(page, "with_the_tag")
    assert not same(first, plain)
    assert not same(first, generate(page, "a circle<lora:zknet:1>", 1, 3))  # the word does something
    train(page, images, steps=5)
    second = generate(page, tagged, 1, 3)
    assert not same(second, first)
    assert same(generate(page, prompt, 1, 3), plain)  # without the tag all is as before


def test_a_tool_is_used_in_the_page(webui, images, page, screenshot):
    source = webui.home / "models" / "Lora" / "zknet.safetensors"
    if not source.is_file():
        train(page, images, steps=3)
    show_tab(page, "Train")
    show_tab(page, "Tools")
    unfold(page, "pivotal_tools_resize")

    def fill(key: str, text: str) -> None:
        write(page.locator(f"#pivotal_tools_resize_{key} :is(textarea, input)").first, text)

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
    assert list(small.embeddings) == ["zknet"]
