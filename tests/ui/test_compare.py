"""The Compare page and its routes: what is drawn is shown as it is named, and nobody gets at other files."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest
from fastapi import FastAPI

from api_client import Described
from fake_host import FakeHost, write_dataset
from pivotal.api.routes import attach_routes
from pivotal.config.options import walk
from pivotal.jobs.comparison.comparisons import CompareView
from pivotal.jobs.comparison.plan import Column
from pivotal.jobs.comparison.saves import Save
from pivotal.jobs.comparison.settings import Comparison, numbers
from pivotal.jobs.desk import Desk
from pivotal.jobs.result import Result
from pivotal.models.generate import GenerateSettings
from pivotal.register import panels
from pivotal.ui.compare import compare_html, draw_compare_page
from pivotal.ui.result import card_html
from runs import carry_out

API = "/pivotal/v1"
EVIL = '<img src=x onerror=alert(1)>"'


class Server:
    def __init__(self, data: Path):
        self.host = FakeHost(data / "host")
        images = write_dataset(data / "images", 2)
        carry_out(self.host, images, name="pair", network__method="lora", network__rank=2, save__every_steps=1,
                  length__steps=2, batch__size=1, measure__images=0, samples__prompts=["a zkteal"], samples__every_steps=0)
        self.desk = Desk(self.host)
        app = FastAPI()
        attach_routes(app, self.desk, panels(self.desk))
        self.client = Described(app)

    def post(self, path, body):
        return self.client.post(API + path, json=body)

    def get(self, path, **query):
        return self.client.get(API + path, params=query)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    return Server(tmp_path_factory.mktemp("compare"))


def test_a_comparison_is_asked_for_watched_and_its_images_fetched(server):
    assert server.get("/compare").json()["state"] == "idle"
    assert "Nothing is compared yet" in server.get("/panel/compare").json()["html"]
    reply = server.post("/compare", {"run": "pair", "strengths": [0.5, 1], "steps": 1, "size": 64, "seeds": [3]})
    assert reply.status_code == 200 and reply.json()["id"]
    server.desk.comparisons.wait(300)
    found = server.get("/compare").json()
    assert (found["state"], found["done"], [row["label"] for row in found["rows"]]) == (
        "finished", 5, ["without", "step 1", "result (step 2)"])
    image = server.client.get("/" + found["addresses"][1][0])
    assert image.status_code == 200 and image.content.startswith(b"\x89PNG")
    assert server.client.get("/" + found["addresses"][1][0].replace("seed-3", "seed-4")).status_code == 403
    html = server.get("/panel/compare").json()["html"]
    assert html.count("<img ") == 6 and html.count("compare/keep") == 2


@pytest.mark.parametrize(("body", "key"), [
    ({}, "files"), ({"run": "../../pair"}, "run"), ({"files": ["../../images/00.png"]}, "files"),
    ({"files": ["/etc/passwd"]}, "files"), ({"run": "pair", "sampler": "best"}, "sampler"), ({"run": "pair", "x": 1}, "x"),
    ({"run": {"a": 1}}, "run"), ({"run": "pair", "strengths": [None]}, "strengths"),
])
def test_what_cannot_be_drawn_is_refused_under_its_key(server, body, key):
    reply = server.post("/compare", body)
    assert reply.status_code == 422
    assert key in reply.json()["problems"]


def test_only_saves_of_a_run_are_put_away_and_not_while_one_is_drawn(server):
    before = sorted(server.host.folders().loras.iterdir())
    for body, status in (({"run": "pair", "save": "../x"}, 422), ({"run": "x", "save": "result"}, 422), ({"run": 5}, 400),
                         ({"run": "pair"}, 400)):
        assert server.post("/compare/keep", body).status_code == status
    with server.host.lock:
        assert server.post("/compare", {"run": "pair", "steps": 1, "size": 64}).status_code == 200
        assert server.post("/compare/keep", {"run": "pair", "save": "result"}).status_code == 409
        assert server.post("/compare", {"run": "pair"}).status_code == 409
        assert server.post("/compare/stop", {}).json() == {"state": "stopping"}
    assert server.desk.comparisons.wait(300).state == "stopped"
    assert sorted(server.host.folders().loras.iterdir()) == before


def test_files_are_found_by_a_part_of_their_name(server):
    html = server.get("/panel/compare_files", find="PAIR-0").json()["html"]
    assert 'data-pivotal-line="pair-000001.safetensors"' in html and html.count("data-pivotal-line") == 1
    assert '<option value="pair">' in html
    assert "data-pivotal-line" not in server.get("/panel/compare_files", find="nothing").json()["html"]


def test_names_and_prompts_are_shown_as_text():
    save = Save("000001", EVIL, Path(f"/loras/{EVIL}.safetensors"), {}, 1, EVIL)
    view = CompareView("1", "finished", EVIL, EVIL, (save,), (Column(EVIL, "", 1.0, GenerateSettings()),), ((None,),), 1, 1,
                       notices=(EVIL,), message=EVIL)
    result = Result(EVIL, (), EVIL, None, 1, 1.0, None, None, False, Path(EVIL), EVIL)
    for html in (compare_html(view), card_html(result)):
        assert "<img" not in html
        assert "&lt;img src=x" in html


def test_the_form_has_a_field_for_each_option():
    with gr.Blocks() as page:
        draw_compare_page()
    html = " ".join(str(block.value) for block in page.blocks.values() if isinstance(block, gr.HTML))
    options = [option.key for option in walk(Comparison)]
    assert len(options) > 10
    for key in options:
        assert html.count(f'name="{key}"') == 1


@pytest.mark.parametrize(("text", "found"), [("", []), ("1", [1]), (" 0.5 , 1;2,", [0.5, 1, 2]), ("1, 1", [1])])
def test_numbers_stand_with_commas_between_them(text, found):
    assert numbers(text, -10, 10) == found
