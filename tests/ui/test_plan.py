"""The plan on the page and by the API: captions, memory, disk, time, and what would need less."""

import threading
import time

import gradio as gr
import pytest
from fastapi import FastAPI

from api_client import Described
from fake_host import FakeHost, write_dataset
from pivotal.api.routes import attach_routes
from pivotal.errors import PivotalError
from pivotal.jobs.checks.plan import make_plan
from pivotal.jobs.desk import Desk
from pivotal.jobs.outlook.estimate import memory, trained_values
from pivotal.jobs.outlook.outlook import offers
from pivotal.jobs.outlook.words import duration, step_words
from pivotal.register import panels
from pivotal.tools.dataset.filters import Filter
from pivotal.tools.dataset.settings import CaptionImages
from pivotal.ui.plan import plan_html
from runs import QUICK, fingerprint

API = "/pivotal/v1"


def until(condition):
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("images"), 3)


@pytest.fixture
def desk(tmp_path):
    return Desk(FakeHost(tmp_path / "host"))


@pytest.fixture
def client(desk):
    with gr.Blocks() as blocks:
        gr.Textbox()
    app = gr.mount_gradio_app(FastAPI(), blocks, path="/")
    attach_routes(app, desk, panels(desk))
    return Described(app)


def flat_of(images, **changes):
    return QUICK | {"dataset.folder": str(images)} | {key.replace("__", "."): value for key, value in changes.items()}


def test_captions_are_shown_as_text_with_their_words_and_cuts(desk, images, tmp_path):
    folder = write_dataset(tmp_path / "images", 1)
    (folder / "00.txt").write_text("<b>a zkteal</b> \U0001f600 & " + "cat " * 90, encoding="utf-8")
    shown = plan_html(desk.outlooks.ahead(flat_of(folder, caption__max_tokens="75", batch__size=1, length__steps=1)), ["zkteal"])
    assert '&lt;b&gt;a <mark class="pivotal-tokens-embedding">zkteal</mark>&lt;/b&gt; \U0001f600 &amp; cat' in shown
    assert "<b>a" not in shown and "The first caption, as the text encoder gets them, 1 of them cut off" in shown
    assert shown.count("<s title=") == 1 and shown.split("<s title=")[1].split("</s>")[0].count("cat") > 10
    assert "pivotal/v1/image?path=" in shown


def test_the_images_of_the_plan_are_handed_out_and_no_others(client, images, desk):
    shown = plan_html(desk.outlooks.ahead(flat_of(images)), ["zkteal"])
    address = shown.split('src="')[1].split('"')[0].replace("&amp;", "&")
    reply = client.get("/" + address)
    assert reply.status_code == 200 and reply.headers["content-type"] == "image/jpeg"
    assert client.get("/" + address.replace(".png", ".txt")).status_code == 403


def test_a_plan_by_the_api_tells_captions_and_needs(client, images):
    told = client.post(API + "/plan", json={"options": flat_of(images, samples__every_steps=4, cache__latents="disk")}).json()
    assert len(told["captions"]) == 16 and told["captions"][0]["text"].startswith("a zkteal circle number")
    assert told["memory"]["bytes"] == sum(told["memory"]["parts"].values()) > 0
    assert {"results", "state", "samples", "encoded images"} == {*told["disk"]["parts"]} and told["disk"]["free"] > 0
    assert told["measured"] is None and told["seconds"] is None
    assert {*map(tuple, (offer["values"] for offer in told["remedies"]))} >= {("precision.gradient_checkpointing",),
                                                                              ("batch.size", "batch.accumulation")}


def test_a_measurement_is_remembered_for_runs_of_another_length(client, desk, images):
    before = fingerprint(desk.host)
    told = client.post(API + "/measure", json={"options": flat_of(images)}).json()
    assert fingerprint(desk.host) == before and not desk.busy
    assert told["measured"]["fits"] and told["seconds"]["total"] > told["seconds"]["training"] > 0
    longer = client.post(API + "/plan", json={"options": flat_of(images, length__steps=80)}).json()
    assert longer["seconds"]["training"] == pytest.approx(10 * told["seconds"]["training"])
    assert client.post(API + "/plan", json={"options": flat_of(images, batch__size=1)}).json()["seconds"] is None
    assert "the run takes about" in plan_html(desk.outlooks.ahead(flat_of(images)), [])


def test_nothing_is_measured_while_a_run_goes_on(client, desk, images):
    vacate = desk.occupy("A run")
    reply = client.post(API + "/measure", json={"options": flat_of(images)})
    vacate()
    assert reply.status_code == 409 and reply.json()["error"]
    reply = client.post(API + "/measure", json={"options": {"seed": "x"}})
    assert reply.status_code == 422 and "seed" in reply.json()["problems"]


@pytest.mark.once
def test_in_a_pause_others_use_the_model_and_the_run_ends_as_if_they_had_not(tmp_path, images, monkeypatch):
    monkeypatch.setattr("pivotal.jobs.outlook.probe.SECONDS", 0)
    run = flat_of(images, length__steps=20, measure__images=0, samples__every_steps=0)
    whole, desk = Desk(FakeHost(tmp_path / "whole")), Desk(FakeHost(tmp_path / "paused"))
    whole.start(run)
    whole.wait(300)
    desk.start(run)
    until(lambda: desk.view().step)
    desk.pause()
    until(lambda: desk.view().state == "paused")
    at, photos = desk.view().step, write_dataset(tmp_path / "photos", 2)
    assert desk.outlooks.measured(flat_of(images, batch__size=1)).probed.fits
    desk.host.captioners = lambda: {"Ruler": lambda image: f"{image.width} wide"}
    desk.datasets.write_captions(desk.datasets.open(str(photos)), CaptionImages(place="replace"), "Ruler", Filter())
    assert desk.datasets.work.wait(300).changed == 2 and (photos / "01.txt").read_text(encoding="utf-8") == "72 wide"
    assert desk.view().step == at and desk.view().state == "paused" and 0 < at < 20
    desk.resume_paused()
    assert desk.wait(300).state == whole.view().state == "finished"
    written = [(each.host.folders().embeddings / "zkteal.safetensors").read_bytes() for each in (whole, desk)]
    assert written[0] == written[1]


@pytest.mark.once
def test_a_run_that_is_stopped_in_a_pause_does_not_wait_for_other_work(desk, images, tmp_path):
    held, seen = threading.Event(), threading.Event()
    desk.host.captioners = lambda: {"Slow": lambda image: seen.set() or held.wait(300) and "x"}
    desk.start(flat_of(images, length__steps=1000))
    until(lambda: desk.view().step)
    desk.pause()
    until(lambda: desk.view().state == "paused")
    opened = desk.datasets.open(str(write_dataset(tmp_path / "photos", 3)))
    desk.datasets.write_captions(opened, CaptionImages(place="replace"), "Slow", Filter())
    assert seen.wait(300)
    with pytest.raises(PivotalError, match="Looking at a dataset's images is going on"):
        desk.resume_paused()
    desk.stop()
    held.set()
    assert desk.datasets.work.wait(300).done == 1 and desk.wait(300).state == "stopped"


def test_what_is_offered_needs_less_and_fits_the_form(desk, images):
    plan = make_plan(flat_of(images, network__method="lora", batch__size=4), desk.host)
    found = {next(iter(offer.values)): offer for offer in offers(plan, desk.host)}
    now = memory(plan, desk.host).total
    halved = found["batch.size"]
    assert halved.values == {"batch.size": 2, "batch.accumulation": 2}
    assert halved.saves == pytest.approx(memory(plan, desk.host).parts["activations"] / 2, rel=0.01)
    assert 0 < halved.saves < found["precision.gradient_checkpointing"].saves < now
    changed = make_plan(flat_of(images, network__method="lora", **halved.values), desk.host)
    assert now - memory(changed, desk.host).total == halved.saves


def test_the_images_that_are_encoded_at_once_count_where_they_need_more_than_a_step(desk, images):
    """Five tensors of 128 channels (Rombach et al.'s VAE) and the image itself are there at once, in fp32."""
    at = {count: memory(make_plan(flat_of(images, network__method="lora", cache__batch=count), desk.host), desk.host)
          for count in (1, 8, 16)}
    assert not any("encoding" in name for name in at[1].parts)
    assert at[16].total - at[8].total == pytest.approx(8 * (5 * 128 + 3) * 4 * 64 * 64 * 1.6, rel=1e-6)
    assert at[8].total > at[1].total


def test_trained_values_are_those_of_the_files(desk, images):
    """A LoRA of rank 16 on SD 1's UNet has 192 layers and 6,782,976 values: 27.1 MB in fp32 (shared/performance.md, 2c)."""
    lora = make_plan(flat_of(images, network__method="lora", network__rank=16), desk.host).config
    assert trained_values(lora, "sd1", {"zkteal": 2}) == 6_782_976 + 2 * 768
    words = make_plan(flat_of(images), desk.host).config
    assert trained_values(words, "sdxl", {"zkteal": 3}) == 3 * (768 + 1280)


def test_times_are_said_as_one_says_them():
    assert [duration(seconds) for seconds in (3, 89.6, 90, 3600, 12_000)] == ["3 s", "90 s", "2 min", "60 min", "3 h 20 min"]
    assert [step_words(seconds) for seconds in (1.34, 0.05, 0)] == ["1.3 s a step", "20 steps a second", "no time a step"]


def test_a_quick_check_asks_the_rules_and_opens_no_file(client, desk, monkeypatch):
    monkeypatch.setattr(desk, "check", None)
    told = client.post(API + "/check", json={"options": {"seed": "x", "dataset.folder": "/gone"}, "quick": True}).json()
    assert {*told["problems"]} == {"seed", "embeddings"}


def test_the_form_as_a_run_file_is_what_differs_or_all(client):
    told = client.post(API + "/run_file", json={"options": {"seed": "5", "length.steps": "500"}}).json()
    assert told["text"] == "seed: 5\n" and "dataset.folder" in told["problems"]
    whole = client.post(API + "/run_file", json={"options": {"seed": "5"}, "all": True}).json()["text"]
    assert "steps: 500" in whole and "seed: 5" in whole


def test_a_glance_hands_out_images_and_nothing_else(client, images):
    told = client.post(API + "/glance", json={"folder": str(images)}).json()
    assert told["count"] == 3 and told["captions"] == 3
    assert [one["caption"] for one in told["shown"]] == [f"a zkteal circle number {index}" for index in range(3)]
    assert all(client.get("/" + one["address"]).headers["content-type"] == "image/jpeg" for one in told["shown"])
    assert client.post(API + "/glance", json={"folder": "/etc"}).json() == {"count": 0, "captions": 0, "shown": []}
    assert client.post(API + "/glance", json={"folder": 5}).status_code == 400
    assert client.post(API + "/glance", content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415
