"""A page whose texts the host replaces, as A1111's javascript/localization.js does: whole text nodes, by those of a file."""

import pytest

from pivotal.config.options import walk
from pivotal.config.train import TrainConfig
from pivotal.ui.strings import strings
from pivotal.ui.widgets import label_of

from .conftest import fill, wait_until

pytestmark = pytest.mark.browser

TRANSLATE = """texts => {
    const known = new Set(texts);
    window.seen = new Set();
    const change = (node) => {
        const text = node.textContent.trim();
        const parent = node.parentElement;
        if (!known.has(text) || !parent || ["SCRIPT", "STYLE", "TEXTAREA"].includes(parent.nodeName)) return;
        window.seen.add(text);
        node.textContent = "¿" + text;
    };
    const under = (root) => {
        const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
        const nodes = [];
        while (walker.nextNode()) nodes.push(walker.currentNode);
        nodes.forEach(change);
    };
    new MutationObserver((changes) => changes.forEach((one) => one.addedNodes.forEach(
        (node) => node.nodeType === 3 ? change(node) : under(node)))).observe(
        document.body, { childList: true, subtree: true });
    under(document.body);
}"""


def test_every_text_of_the_form_can_be_translated_and_the_page_still_works(webui, screenshot):
    page = webui.open_tab("Train")
    page.locator(".pivotal-row").first.wait_for()
    page.evaluate(TRANSLATE, strings())
    page.evaluate("""document.querySelectorAll("[id^=pivotal_section_]").forEach(
        (section) => (section.querySelector(".label-wrap") || section.querySelector("button")).click())""")
    shown = [option for option in walk(TrainConfig) if option.spec.shown_when is None]
    wanted = sorted({label_of(option) for option in shown} | {option.spec.help for option in shown} | {"Train", "Check and plan"})
    wait_until(page, "arg.every((text) => window.seen.has(text))", [label_of(option) for option in shown])
    for _ in range(100):  # a fold that has just been opened is drawn a few frames later
        if not (unseen := page.evaluate("texts => texts.filter((text) => !window.seen.has(text))", wanted)):
            break
        page.wait_for_timeout(200)
    assert unseen == []
    screenshot(page, "translated")

    fill(page, "optimizer.learning_rate", "fast")
    problem = page.locator('.pivotal-problem[data-key="optimizer.learning_rate"]')
    problem.wait_for()
    assert page.evaluate("""[...document.querySelectorAll("#pivotal_pages option")].filter(
        (one) => one.value.includes("¿")).length""") == 0  # what is sent is what was meant
    page.evaluate("""() => {
        const button = document.createElement("button");
        button.dataset.pivotalShow = "queue";
        document.querySelector("#pivotal_page").append(button);
        button.click();
    }""")
    page.locator("#pivotal_queue").get_by_text("¿History").wait_for()  # found by its place, not by its name
    page.close()
