"""The queue over HTTP and on its page, in front of a real desk and a tiny checkpoint."""

import html
import json
import re
import time
from pathlib import Path

import gradio as gr
import pytest
from fastapi import FastAPI

from api_client import Described
from fake_host import FakeHost, write_dataset
from pivotal.api.routes import attach_routes
from pivotal.config.train import TrainConfig
from pivotal.jobs.desk import Desk
from pivotal.jobs.queue.entries import Entry, new_id
from pivotal.register import panels
from pivotal.ui.form import Form
from pivotal.ui.queue_form import QueueForm
from pivotal.ui.tab import _Actions

API = "/pivotal/v1"


class Page:
    """A desk behind the API."""

    def __init__(self, data: Path):
        self.data, self.host = data, FakeHost(data)
        self.desk = Desk(self.host)
        app = FastAPI()
        attach_routes(app, self.desk, panels(self.desk))
        self.client = Described(app)

    def get(self, address, **params):
        return self.client.get(API + address, params=params)

    def post(self, path, body=None):
        return self.client.post(API + path, json=body or {})

    def options(self, name, folder=None, **changes):
        dataset = {"folder": str(folder or self.data / "images"), "resolution": 64, "captions": "object"}
        return {"name": name, "dataset": dataset, "length": {"steps": 2}, "batch": {"size": 1}, "measure": {"images": 0},
                "samples": {"every_steps": 0}, "embeddings": [{"placeholder": f"zk{name}", "token_count": 1}]} | changes

    def add(self, name, **changes):
        reply = self.post("/queue", {"options": self.options(name, **changes)})
        assert reply.status_code == 200, reply.text
        return reply.json()["runs"][0]["id"]

    def run_all(self):
        assert self.post("/queue/start").status_code == 200
        deadline = time.monotonic() + 300
        while self.get("/queue").json()["working"] or self.desk.is_training:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def states(self):
        return {run["name"]: run["state"] for run in self.get("/queue").json()["runs"]}

    def shown(self, **query):
        return self.get("/panel/queue", **query).json()["html"]


@pytest.fixture
def page(tmp_path):
    write_dataset(tmp_path / "images", 2)
    return Page(tmp_path)


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """One page for tests that change nothing, with a run that waits."""
    folder = tmp_path_factory.mktemp("still")
    write_dataset(folder / "images", 1)
    page = Page(folder)
    page.waits = page.add("a")
    return page


def test_runs_are_added_worked_in_their_order_and_remembered(page):
    first, second = page.add("a"), page.add("b", seed=9)
    assert page.states() == {"a": "waiting", "b": "waiting"}
    page.post(f"/queue/{second}/move", {"to": "top"})
    page.run_all()
    runs = page.get("/queue").json()
    assert [(run["name"], run["state"]) for run in runs["runs"]] == [("a", "finished"), ("b", "finished")] and runs["count"] == 2
    told = page.get(f"/queue/{second}").json()
    assert told["options"]["seed"] == 9 and told["options"]["checkpoint"] == "tiny" and told["step"] == told["of"] == 2
    ((path, size),) = told["files"]
    assert path == str(page.host.folders().embeddings / "zkb.safetensors") and size == Path(path).stat().st_size
    assert "Finished after 2 steps" in told["log"][-1]
    assert page.get(f"/queue/{first}").json()["name"] == "a"


def test_the_events_of_a_run_are_paged_and_are_those_of_this_run_alone(page):
    for seed in (1, 2):  # the second time in the same journal
        identifier = page.add("a", seed=seed)
        page.run_all()
    every = page.get(f"/queue/{identifier}/events").json()
    kinds = [event["event"] for event in every["events"]]
    assert kinds.count("StepDone") == 2 and kinds[-1] == "Finished" and every["next"] == len(kinds)
    later = page.get(f"/queue/{identifier}/events", since=len(kinds) - 1).json()
    assert [event["event"] for event in later["events"]] == ["Finished"] and later["next"] == len(kinds)
    assert page.get(f"/queue/{identifier}/events", since=later["next"]).json()["events"] == []


def test_a_run_of_the_api_is_in_the_history_and_a_second_one_is_refused(page):
    with page.host.lock:
        assert page.post("/jobs", {"options": page.options("a")}).status_code == 200
        assert page.states() == {"a": "running"}
        assert page.post("/jobs", {"options": page.options("b")}).status_code == 409
    page.desk.wait(300)


@pytest.mark.parametrize("address", ["/queue/0123456789ab", "/queue/xyz", "/queue/..%5cetc", "/queue/0123456789ab/events"])
def test_a_run_that_is_not_there_is_404(still, address):
    reply = still.get(address)
    assert reply.status_code == 404 and len(reply.json()["error"]) > 10


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("/move", {"to": "left"}, 400), ("/move", {}, 400), ("/retry", {"resume": "yes"}, 400), ("/retry", {}, 409),
     ("/over", {"folder": 5}, 400), ("/over", {"folders": [""]}, 400), ("/over", {"folders": ["/a"] * 1001}, 400),
     ("/over", {"folder": "/no/such"}, 422), ("/over", {"folder": ""}, 422), ("/duplicate", {"name": 5}, 400),
     ("/edit", {"options": []}, 400), ("/edit", {"options": {"seed": "x"}}, 422)],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_words(still, path, body, status):
    reply = still.post(f"/queue/{still.waits}{path}", body)
    assert reply.status_code == status, reply.text
    told = reply.json()
    assert len(told["error"]) > 10 and "internal" not in told["error"]


@pytest.mark.parametrize("query", [{"state": "gone"}, {"limit": "-1"}, {"offset": "x"}, {"search": "x" * 5000}])
def test_a_list_that_cannot_be_is_refused(still, query):
    assert still.get("/queue", **query).status_code == 400


def test_a_run_that_goes_on_can_neither_be_moved_nor_removed(page):
    identifier = page.add("a")
    with page.host.lock:
        page.post("/queue/start")
        while page.states()["a"] != "running":
            time.sleep(0.01)
        for path in ("/move", "/remove", "/edit"):
            assert page.post(f"/queue/{identifier}{path}", {"to": "up", "options": page.options("c")}).status_code == 409
    page.desk.wait(300)


def test_forty_folders_are_forty_runs_of_the_same_recipe(page, tmp_path):
    for index in range(40):
        write_dataset(tmp_path / "people" / f"person{index}", 1)
    (tmp_path / "people" / ".hidden").mkdir()
    recipe = page.options("recipe", embeddings=[{"placeholder": "zkman"}], dataset={"resolution": 64, "captions": "object"},
                          samples={"every_steps": 0, "prompts": ["zkman at sea"]})
    reply = page.post("/queue", {"options": recipe, "over": {"folder": str(tmp_path / "people"), "placeholder": "zk{folder}"}})
    assert reply.json()["text"].startswith("Added 40 runs."), reply.text
    runs = page.get("/queue").json()["runs"]
    assert [run["name"] for run in runs] == [f"person{index}" for index in range(40)], "2 before 10"
    seventh = page.get(f"/queue/{runs[7]['id']}").json()["options"]
    assert seventh["dataset.folder"] == str(tmp_path / "people" / "person7")
    assert seventh["embeddings.0.placeholder"] == "zkperson7" and seventh["samples.prompts"] == ["zkperson7 at sea"]


def test_one_bad_folder_of_many_is_named_and_nothing_is_added(page, tmp_path):
    for name in ("one", "two"):
        write_dataset(tmp_path / "people" / name, 1)
    (tmp_path / "people" / "three").mkdir()
    recipe = page.options("recipe", dataset={"resolution": 64, "captions": "object"})
    reply = page.post("/queue", {"options": recipe, "over": {"folder": str(tmp_path / "people"), "placeholder": "zk{folder}"}})
    assert reply.status_code == 422 and set(reply.json()["problems"]) == {"three: dataset.folder"}, reply.text
    assert page.states() == {}


def test_patterns_that_cannot_tell_folders_apart_are_refused(page, tmp_path):
    write_dataset(tmp_path / "people" / "one", 1)
    reply = page.post("/queue", {"options": page.options("recipe"), "over": {
        "folder": str(tmp_path / "people"), "name": "same", "placeholder": "zksame"}})
    assert set(reply.json()["problems"]) == {"name", "placeholder"}


def test_names_are_shown_as_text(page):
    name, word = '<img src=x onerror=alert(1)> \U0001f600 "quoted"', '<b>"x"</b>'
    options = {"name": name, "dataset.folder": word, "embeddings.0.placeholder": word}
    for state in ("finished", "failed"):
        page.desk.queue.store.add([Entry(new_id(), name, options, state, message=word, problems={word: word}, log=(word,),
                                         files=((f"/{word}", 1),), started="2026", folder=word)])
    (first, second) = page.get("/queue").json()["runs"]
    for run in (first, second):
        shown = page.shown(entry=run["id"], search="img")
        assert "<img" not in shown and "<b>" not in re.sub(r'<b class="[^"]*">|<b>&lt;b', "", shown)
        assert html.escape(name) in shown and "\U0001f600" in shown


def test_the_page_has_thirty_of_a_thousand_runs_and_is_quick(page):
    page.desk.queue.store.add([Entry(new_id(), f"run {index}", {"name": f"run {index}"}, "finished" if index % 2 else "failed")
                               for index in range(1000)])
    begin = time.process_time()  # not the wall's: other work may share the machine
    shown = page.shown()
    assert time.process_time() - begin < 1.0
    assert shown.count('data-state="') == 30 and "Show more (970 earlier)" in shown
    assert page.shown(limit="120").count('data-state="') == 120
    assert page.shown(state="failed", search="run 99").count('data-state="failed"') == 5  # 990, 992, 994, 996, 998
    assert page.shown(limit="-5", state="<x>").count('data-state="') == 30


def test_the_panel_is_sent_again_only_when_it_changed(page):
    before = page.get("/panel/queue").json()
    assert "html" not in page.get("/panel/queue", version=before["version"]).json()
    page.add("a")
    assert "html" in page.get("/panel/queue", version=before["version"]).json()


def form_of(page, **values):
    with gr.Blocks():
        form, queued = Form(TrainConfig, values), QueueForm(page.desk.queue)
        queued.draw_button()
        queued.draw_editing()
        answers = [gr.HTML()]
        queued.connect(form, _Actions(page.desk, form).answer, answers)
    return queued, [widget.value for widget in form.inputs]


def test_the_form_is_added_loaded_back_and_edited_in_its_place(page):
    values = {"name": "mine", "dataset.folder": str(page.data / "images"), "embeddings.0.placeholder": "zkteal", "seed": 54321}
    queued, given = form_of(page, **values)
    told = queued.added("", *given)
    assert "is added to the queue" in told[2]["value"] and page.states() == {"mine": "waiting"}
    (run,) = page.get("/queue").json()["runs"]
    asked = json.dumps({"id": run["id"], "edit": True})
    loaded = queued.filled(asked)
    again = [update["value"] for update in loaded[: len(given)]]
    assert queued.form.flat(again) == queued.form.flat(given) | {"checkpoint": "tiny"}
    assert loaded[len(given)]["value"] == asked and "mine" in loaded[len(given) + 1]["value"]
    changed = [6 if value == 54321 else value for value in again]
    told = queued.added(asked, *changed)
    assert [told[0]["value"], told[1]["value"]] == ["", ""] and "waits in its place" in told[2]["value"]
    assert page.get(f"/queue/{run['id']}").json()["options"]["seed"] == 6 and len(page.states()) == 1


def test_a_run_that_was_removed_while_it_was_edited_is_said_and_the_form_stays(page):
    queued, given = form_of(page)
    told = queued.added(json.dumps({"id": new_id(), "edit": True}), *given)
    assert "may have been removed" in told[2]["value"] and told[0]["value"] == ""


@pytest.mark.parametrize("asked", ["", "x", "[]", '{"id": 5}', '{"id": "0123456789ab"}'])
def test_nothing_fills_the_form_with_a_run_that_is_none(still, asked):
    queued, given = form_of(still)
    told = queued.filled(asked)
    assert all("value" not in update for update in told[: len(given)]) and "queue" in told[len(given) + 2]["value"]
