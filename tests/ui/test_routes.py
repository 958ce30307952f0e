"""The HTTP API, on whatever fastapi and pydantic are installed, in front of a real desk and a tiny checkpoint."""

import io
import json
import time
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest
from fastapi import FastAPI
from PIL import Image

from api_client import Described
from fake_host import FakeHost, write_dataset
from pivotal.api.plain import plain
from pivotal.api.routes import attach_routes
from pivotal.jobs.desk import Desk
from pivotal.jobs.watch.view import JobView
from pivotal.prompts.counting import count_tokens
from pivotal.register import panels

API = "/pivotal/v1"


class Page:
    """A desk behind an app that gradio has taken the root of, as a WebUI's is."""

    def __init__(self, data: Path):
        self.host = FakeHost(data)
        self.desk = Desk(self.host)
        with gr.Blocks() as blocks:
            gr.Textbox()
        self.app = gr.mount_gradio_app(FastAPI(), blocks, path="/")
        attach_routes(self.app, self.desk, panels(self.desk))
        self.client = Described(self.app)

    def get(self, address, **params):
        return self.client.get(API + address, params=params)

    def post(self, path, body):
        return self.client.post(API + path, json=body)

    def run(self, folder, **changes):
        options = {
            "name": "run", "dataset": {"folder": str(folder), "resolution": 64}, "length": {"steps": 2},
            "batch": {"size": 1}, "measure": {"images": 0},
            "samples": {"every_steps": 1, "steps": 1, "prompts": ["a zkteal cat"]},
            "embeddings": [{"placeholder": "zkteal", "token_count": 2, "initial_text": "green"}],
        } | changes  # fmt: skip
        return self.post("/jobs", {"options": options})


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return Page(tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("images"), 3)


def test_the_host_says_what_it_has_and_what_it_reads(page):
    about = page.get("/host").json()
    assert (about["name"], about["checkpoint"]["family"], about["checkpoints"]) == ("fake", "sd1", ["tiny"])
    assert Path(about["folders"]["embeddings"]).is_dir()
    assert (about["reads_bundles"], about["networks"]["unread"], about["networks"]["most_bundled"]) == (True, {}, None)


def test_the_options_are_described_as_a_json_schema(page):
    properties = page.get("/options").json()["properties"]
    assert properties["length.steps"]["type"] == "integer"
    assert "placeholder" in properties["embeddings"]["items"]["properties"]


def test_gradio_still_answers_all_other_addresses(page):
    assert "gradio" in page.client.get("/").text


def test_counts_are_the_counters(page):
    body = {"text": "a (zkteal:1.2) cat BREAK sat", "kind": "prompt", "embeddings": {"zkteal": 3}}
    context = page.host.prompt_context()
    expected = count_tokens(body["text"], context.encoders, {"zkteal": 3}, kind="prompt")
    assert page.post("/tokens", body).json() == json.loads(json.dumps(expected))


def test_an_initial_text_is_measured_against_the_vectors_it_shall_fill(page):
    answer = page.post("/tokens", {"text": "one two three", "kind": "caption", "wanted": 2}).json()
    assert [piece["text"].strip() for piece in answer["cut"]] == ["three"]


def test_counting_does_not_wait_for_the_hosts_lock(page):
    with page.host.lock:
        assert page.post("/tokens", {"text": "a cat"}).json()["count"] == 2


@pytest.mark.parametrize(
    "body",
    [
        {"text": 5}, {"text": "x" * 200_000}, {"text": "a", "kind": "poem"}, {"text": "a", "wanted": 0},
        {"text": "a", "wanted": True}, {"text": "a", "embeddings": {"b": 76}}, {"text": "a", "embeddings": ["b"]}, [], "text",
    ],
    ids=lambda body: json.dumps(body)[:30],
)  # fmt: skip
def test_a_count_that_cannot_be_is_refused_in_words(page, body):
    reply = page.post("/tokens", body)
    assert reply.status_code == 400
    assert len(reply.json()["error"]) > 10


def test_a_body_that_is_no_json_is_refused(page):
    headers = {"Content-Type": "application/json"}
    assert page.client.post(API + "/check", content=b"{", headers=headers).status_code == 400


def test_a_form_of_another_site_cannot_start_a_run(page):
    """Browsers send these types across sites without asking; JSON they do not."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        reply = page.client.post(API + "/jobs", content=b'{"options": {}}', headers={"Content-Type": kind})
        assert reply.status_code == 415


def test_check_names_every_problem_and_starts_nothing(page, tmp_path):
    options = {"dataset.folder": str(tmp_path), "optimizer": {"learning_rate": "abc"}, "embeddings": [{"token_count": 99}]}
    problems = page.post("/check", {"options": options}).json()["problems"]
    assert {"optimizer.learning_rate", "embeddings.0.token_count", "dataset.folder"} <= {*problems}
    assert page.get("/job").json()["id"] == ""


def test_a_run_with_problems_is_not_started(page):
    reply = page.post("/jobs", {"options": {"dataset": {"folder": ""}, "no.such": 1}})
    assert reply.status_code == 422
    assert {"dataset.folder", "no.such", "embeddings"} <= {*reply.json()["problems"]}


def test_a_run_is_started_watched_and_its_images_handed_out(page, images):
    identifier = page.run(images).json()["id"]
    view = page.desk.wait(300)
    job = page.get("/job").json()
    assert (job["id"], job["state"], job["step"]) == (identifier, "finished", 2), view.message
    assert job["files"] == [str(page.host.folders().embeddings / "zkteal.safetensors")]
    panel = page.get("/panel/job").json()
    assert panel["run"] == identifier and "Finished" in panel["html"]
    assert page.get("/panel/job", version=panel["version"]).json() == {k: panel[k] for k in panel if k != "html"}
    step, _, path = view.samples[-1]
    image = page.get("/file", path=str(path), step=step)
    assert image.content == path.read_bytes() and image.headers["content-type"] == "image/png"


def test_no_other_file_of_the_machine_is_handed_out(page, images):
    for path in (str(images / "00.png"), "/etc/hostname", "", str(page.host.folders().embeddings / "zkteal.safetensors")):
        assert page.get("/file", path=path).status_code == 404


def test_a_second_run_is_refused_while_one_goes_on_and_stop_ends_it(page, images):
    with page.host.lock:  # the first one waits here
        assert page.run(images, length={"steps": 500}).status_code == 200
        reply = page.run(images)
        assert reply.status_code == 409 and "run" in reply.json()["error"]
        assert page.post("/job/stop", {}).json() == {"state": "stopping"}
    assert page.desk.wait(300).state in ("stopped", "failed")


def test_samples_and_copies_may_be_asked_for_while_a_run_goes_on(page, images):
    for what in ("sample", "save"):
        assert (answer := page.post(f"/job/{what}", {})).status_code == 409 and "No run" in answer.json()["error"]
    samples = {"every_steps": 0, "steps": 1, "prompts": ["a zkteal cat"]}
    assert page.run(images, length={"steps": 500}, samples=samples, save={"state_every_steps": 0}).status_code == 200
    assert [page.post(f"/job/{what}", {}).status_code for what in ("sample", "save")] == [200, 200]
    deadline = time.monotonic() + 300
    while not (page.desk.view().samples and page.desk.view().files) and time.monotonic() < deadline:
        time.sleep(0.02)
    page.post("/job/stop", {})
    view = page.desk.wait(300)
    assert view.samples and view.state == "stopped"
    assert 1 <= view.samples[0][0] < 500 and len(list(page.host.folders().embeddings.glob("zkteal-0*.safetensors"))) == 1


def until(condition):
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_run_is_paused_and_resumed_and_its_events_are_numbered(page, images):
    for what in ("pause", "resume"):
        assert (answer := page.post(f"/job/{what}", {})).status_code == 409 and "No run" in answer.json()["error"]
    assert page.run(images, length={"steps": 500}, samples={"every_steps": 0}).status_code == 200
    until(lambda: page.desk.view().step)
    assert page.post("/job/pause", {}).json()["state"] in ("pausing", "paused")
    until(lambda: page.desk.view().state == "paused")
    with page.host.lock:  # the host's own again
        step = page.desk.view().step
    for body in ({}, {}):
        reply = page.post("/job/sample", body)
        assert reply.status_code == 409 and "paused" in reply.json()["error"]
    busy = page.run(images)
    assert busy.status_code == 409 and "paused; resume or stop it" in busy.json()["error"]
    assert page.post("/job/resume", {}).json() == {"state": "running"}
    until(lambda: page.desk.view().step > step)
    page.post("/job/stop", {})
    view, seen, at = page.desk.wait(300), [], 0
    while True:
        told = page.get("/job/events", since=at).json()
        seen, at = seen + told["events"], told["next"]
        if not told["more"]:
            break
    assert told["run"] == view.id and [event["number"] for event in seen] == list(range(1, len(seen) + 1))
    names = [event["event"] for event in seen]
    assert names.count("Paused") == names.count("Resumed") == names.count("Started") == 1 and names[-1] == "Finished"
    steps = [event["step"] for event in seen if event["event"] == "StepDone"]
    assert steps == list(range(1, view.step + 1)) and step in steps
    assert page.get("/job/events", since=at).json()["events"] == []
    for wrong in ("-1", "x", "1.5", "9" * 30, "٣"):
        assert page.get("/job/events", since=wrong).status_code == 400


def test_a_run_is_discarded_with_all_that_it_wrote(page, images):
    folder = page.host.folders().embeddings
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert page.post("/job/stop", {"keep": "no"}).status_code == 400
    assert page.run(images, length={"steps": 500}, samples={"every_steps": 0}, save={"every_steps": 1}).status_code == 200
    until(lambda: page.desk.view().files)
    assert page.post("/job/stop", {"keep": False}).json() == {"state": "stopping"}
    view = page.desk.wait(300)
    assert (view.state, view.files) == ("stopped", ()) and view.message.startswith("Discarded: ")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_samples_are_listed_and_handed_out_by_number_large_and_small(page, images):
    samples = {"every_steps": 1, "steps": 1, "size": 128, "prompts": ["a zkteal cat", "b"]}
    identifier = page.run(images, samples=samples).json()["id"]
    view = page.desk.wait(300)
    listed = page.get("/job/samples").json()
    assert listed["run"] == identifier and [(one["number"], one["step"], one["prompt"]) for one in listed["samples"]] == [
        (number, step, prompt) for number, (step, prompt) in enumerate((s, p) for s in (0, 1, 2) for p in ("a zkteal cat", "b"))]
    assert [one["number"] for one in page.get("/job/samples", since=4).json()["samples"]] == [4, 5]
    address = "/" + listed["samples"][5]["address"]
    assert page.client.get(address).content == view.samples[5][2].read_bytes()
    small = page.client.get(address, params={"run": identifier, "small": 32})
    assert small.headers["content-type"] == "image/jpeg" and Image.open(io.BytesIO(small.content)).size == (32, 32)
    for wrong, status in (("6", 404), ("99999", 404), ("x", 400), ("-1", 400), ("..%2f..%2fetc", 404)):
        assert page.get(f"/job/samples/{wrong}").status_code == status
    assert page.get("/job/samples/0", run="another").status_code == 404
    panel = page.get("/panel/samples", prompt="1").json()
    assert panel["html"].count("<img") == 3 and page.get("/panel/samples", version=panel["version"]).json().keys() == {"version"}


def test_what_was_not_foreseen_is_told_without_its_insides(page, monkeypatch):
    def burst():
        raise RuntimeError("secret /home/me")

    monkeypatch.setattr(page.desk, "view", burst)
    reply = page.get("/job")
    assert reply.status_code == 500
    assert "secret" not in reply.text


def test_attaching_again_leaves_one_of_each_route(page):
    def ours():
        return [(route.path, *sorted(route.methods)) for route in page.app.router.routes
                if getattr(route, "path", "").startswith(API)]

    before = ours()
    attach_routes(page.app, page.desk, panels(page.desk))
    assert ours() == before and len({*before}) == len(before) >= 8


def test_a_view_is_plain_json_even_where_its_numbers_are_not_finite():
    view = replace(JobView(), loss=float("nan"), curve=((1, float("inf"), 0.5),), files=(Path("/a"),))
    made = json.loads(json.dumps(plain(view), allow_nan=False))
    assert made["loss"] is None and made["curve"] == [[1, None, 0.5]] and made["files"] == [str(Path("/a"))]


def test_a_plan_is_told_and_nothing_is_started(page, images):
    options = {"dataset": {"folder": str(images), "repeats": 4}, "length": {"epochs": 2}, "batch": {"size": 2},
               "embeddings": [{"placeholder": "zkteal", "token_count": 2}]}
    before = page.desk.view().id
    told = page.post("/plan", {"options": options}).json()
    assert told["plan"]["images_per_epoch"] == 12 and told["plan"]["steps"] == 12
    assert told["words"][-1] == ("3 images x 4 repeats / batch 2 / accumulation 1 = 6 steps an epoch; 12 steps are 2 epochs "
                                 "(24 images seen).")
    assert page.desk.view().id == before
    assert "dataset.folder" in page.post("/plan", {"options": {}}).json()["problems"]
