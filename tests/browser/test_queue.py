"""The Queue page under a user's hands: added, moved, edited, worked, continued, searched."""

import pytest

from fake_host import write_dataset

from .conftest import fill, show_tab, wait_until, write

pytestmark = pytest.mark.browser

NAME = '<b>bold</b> \U0001f600 "x"'


def options(webui, name: str, steps: int = 2) -> dict:
    return {"name": name, "dataset": {"folder": str(webui.data / "images"), "resolution": 64, "captions": "object"},
            "length": {"steps": steps}, "batch": {"size": 1}, "measure": {"images": 0}, "samples": {"every_steps": 0},
            "embeddings": [{"placeholder": f"zk{len(name)}", "token_count": 1}]}


@pytest.fixture(scope="module", autouse=True)
def _folders(webui):
    for name in ("images", "people/one", "people/two"):
        write_dataset(webui.data / name, 3)


@pytest.fixture
def page(webui):
    page = webui.open_tab("Train")
    page.locator(".pivotal-row").first.wait_for()
    page.on("dialog", lambda dialog: dialog.accept())
    yield page
    page.close()


def row(page, name: str):
    return page.locator("#pivotal_queue .pivotal-part").filter(has=page.get_by_text(name, exact=True))


def order(page) -> list[str]:
    return page.locator("#pivotal_queue [data-state=waiting] .pivotal-queue-name").all_inner_texts()


def wait_for_order(page, *names: str) -> None:
    waiting = "document.querySelectorAll('#pivotal_queue [data-state=waiting] .pivotal-queue-name')"
    wait_until(page, f"JSON.stringify(Array.from({waiting}).map(e => e.innerText)) === JSON.stringify(arg)", list(names))


def test_runs_wait_are_moved_edited_worked_and_remembered(webui, page, screenshot):
    for name in ("first", "second", NAME):
        webui.ask("queue", {"options": options(webui, name)})
    show_tab(page, "Queue")
    wait_for_order(page, "first", "second", NAME)
    screenshot(page, "waiting")

    row(page, NAME).get_by_title("Move to the top").click()
    wait_for_order(page, NAME, "first", "second")
    row(page, "first").get_by_title("Move down").click()
    wait_for_order(page, NAME, "second", "first")

    row(page, "second").get_by_text("Edit", exact=True).click()
    page.locator("#pivotal_queue_editing").get_by_text("second").wait_for()
    wait_until(page, "document.querySelector('#pivotal_name :is(textarea, input)').value === 'second'")
    fill(page, "name", "renamed")
    screenshot(page, "editing")
    page.locator("#pivotal_add_to_queue").click()
    page.locator("#pivotal_answer").get_by_text("'renamed' is changed").wait_for()
    page.locator("#pivotal_queue_editing .pivotal-editing").wait_for(state="detached")
    show_tab(page, "Queue")
    wait_for_order(page, NAME, "renamed", "first")

    row(page, "first").get_by_text("Remove", exact=True).click()
    wait_for_order(page, NAME, "renamed")
    page.locator("#pivotal_queue").get_by_text("Start the queue", exact=True).click()
    wait_until(page, "document.querySelectorAll('#pivotal_queue [data-state=finished]').length === 2")
    row(page, "renamed").get_by_text("Details", exact=True).click()
    page.locator(".pivotal-queue-details .pivotal-log").wait_for()
    details = page.locator(".pivotal-queue-details")
    assert "zk6.safetensors" in details.inner_text() and "Finished after 2 steps" in details.inner_text()
    screenshot(page, "history")
    page.goto(f"{webui.address}/?__theme=dark")
    show_tab(page, "Train")
    show_tab(page, "Queue")
    row(page, "renamed").get_by_text("Details", exact=True).click()
    details.wait_for()
    screenshot(page, "history_dark")

    write(page.locator("#pivotal_queue [data-pivotal-ask=search]"), "bold")
    wait_until(page, "document.querySelectorAll('#pivotal_queue [data-state=finished]').length === 1")
    assert page.locator("#pivotal_queue [data-state=finished] .pivotal-queue-name").inner_text() == NAME
    page.locator("#pivotal_queue [data-pivotal-ask=state]").select_option("failed")
    wait_until(page, "document.querySelectorAll('#pivotal_queue [data-state=finished]').length === 0")


def test_one_recipe_is_added_over_folders_from_the_page(webui, page):
    (made,) = webui.ask("queue", {"options": options(webui, "recipe")})["runs"]
    show_tab(page, "Queue")
    row(page, "recipe").get_by_text("Details", exact=True).click()
    page.locator(".pivotal-queue-details summary").click()
    form = page.locator(".pivotal-queue-details [data-pivotal-form]")
    form.locator("[name=folder]").fill(str(webui.data / "nowhere"))
    form.get_by_text("Add them to the queue").click()
    form.locator(".pivotal-told.pivotal-error").wait_for()
    form.locator("[name=folder]").fill(str(webui.data / "people"))
    form.locator("[name=placeholder]").fill("zk{folder}")
    form.get_by_text("Add them to the queue").click()
    wait_for_order(page, "recipe", "one", "two")
    for name in ("recipe", "one", "two"):
        row(page, name).get_by_text("Remove", exact=True).click()
        wait_until(page, "!Array.from(document.querySelectorAll('#pivotal_queue .pivotal-queue-name'))"
                         ".some(e => e.innerText === arg)", name)  # fmt: skip
    assert made["state"] == "waiting"


def test_a_second_press_on_train_waits_and_a_stopped_run_is_continued(webui, page, screenshot):
    webui.ask("jobs", {"options": options(webui, "long", steps=100_000)})
    page.locator(".pivotal-badge.pivotal-running").first.wait_for()
    (_,) = webui.ask("queue", {"options": options(webui, "next")})["runs"]
    show_tab(page, "Queue")
    row(page, "next").get_by_text("Edit", exact=True).click()  # the quickest way to a form that is filled in
    page.locator("#pivotal_queue_editing").get_by_text("next").wait_for()
    page.locator("[data-pivotal-leave]").click()
    fill(page, "name", "pressed")
    page.locator("#pivotal_start").click()
    page.locator("#pivotal_answer").get_by_text("Added to the queue").wait_for()
    show_tab(page, "Queue")
    wait_for_order(page, "next", "pressed")
    screenshot(page, "running")
    page.locator("#pivotal_queue").get_by_text("Stop after this run", exact=True).click()
    page.locator("#pivotal_queue").get_by_text("Start the queue", exact=True).wait_for()
    row(page, "long").get_by_text("Stop", exact=True).click()
    page.locator("#pivotal_queue [data-state=stopped]").wait_for()
    wait_for_order(page, "next", "pressed")
    row(page, "long").get_by_text("Continue", exact=True).click()
    page.locator("#pivotal_queue [data-state=running]").wait_for()
    wait_until(page, "/step [1-9]/.test(document.querySelector('#pivotal_queue [data-state=running]').innerText)")
    webui.ask("job/stop", {})
    page.locator("#pivotal_queue [data-state=stopped]").wait_for()
    assert order(page) == ["next", "pressed"]
