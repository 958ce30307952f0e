"""The tab's buttons, pressed by hand: what each tells the page."""

import html
import json
import re
from pathlib import Path

import gradio as gr
import pytest

import pivotal.register
import pivotal.ui.tab
from fake_host import FakeHost, write_dataset
from pivotal.config.train import TrainConfig
from pivotal.errors import HostError, PivotalError
from pivotal.hosts.protocol import Checkpoint, Logins
from pivotal.jobs.desk import Desk
from pivotal.jobs.watch.view import JobView
from pivotal.register import register
from pivotal.ui.demo import demo_run
from pivotal.ui.form import Form
from pivotal.ui.labels import label_of_key
from pivotal.ui.tab import TAB_ID, _Actions, build_tab


class Shell:
    """A page that only remembers what was put into it."""

    def __init__(self):
        self.tabs, self.attached = [], []

    def logins(self):
        return Logins()

    def add_tab(self, title, identifier, build):
        self.tabs.append((title, identifier, build))

    def add_routes(self, attach):
        self.attached.append(attach)


@pytest.fixture
def desk(tmp_path):
    return Desk(FakeHost(tmp_path / "host"))


def actions(desk, **values):
    with gr.Blocks():
        form = Form(TrainConfig, values)
    return _Actions(desk, form), [widget.value for widget in form.inputs]


def told(updates):
    """The problems and the words of an answer."""
    answer = updates["value"] if isinstance(updates, dict) else updates[0]["value"]
    data = re.search(r'data-pivotal-problems="([^"]*)"', answer)[1]
    return json.loads(html.unescape(data)), re.sub(r"<[^>]+>", " ", answer).strip()


def test_a_press_on_train_with_errors_tells_all_of_them_under_their_keys(desk, tmp_path):
    (tmp_path / "empty").mkdir()
    pressed, values = actions(desk, **{"dataset.folder": str(tmp_path / "empty"), "objective.clip_skip": 99,
                                       "embeddings.0.placeholder": "a.b", "embeddings.1.token_count": "x"})  # fmt: skip
    updates = pressed.train(*values)
    problems, words = told(updates)
    assert {"dataset.folder", "objective.clip_skip", "embeddings.0.placeholder", "embeddings.1.token_count"} <= {*problems}
    assert f"{len(problems)} options need attention" in words
    assert "Embedding 2, token count" in words
    unfolded = dict(zip(pressed.form.sections, updates[1:], strict=True))
    assert unfolded["objective"]["open"] is True and "open" not in unfolded["save"]
    assert desk.view().state == "idle"


def test_a_press_on_train_starts_the_run_and_says_nothing(desk, tmp_path):
    folder = write_dataset(tmp_path / "images", 2)
    pressed, values = actions(desk, **{
        "name": "run", "dataset.folder": str(folder), "dataset.resolution": 64, "length.steps": 2, "batch.size": 1,
        "samples.every_steps": 0, "measure.images": 0, "embeddings.0.placeholder": "zkteal", "embeddings.0.token_count": 1,
    })  # fmt: skip
    assert told(pressed.train(*values)) == ({}, "")
    view = desk.wait(300)
    assert view.state == "finished", view.message
    assert told(pressed.resume(*values)) == ({}, "")  # there is a state to go on from, and nothing left to do
    assert desk.wait(300).step == 2


def test_a_plan_is_told_without_a_run_and_its_problems_are_those_of_a_start(desk, tmp_path):
    folder = write_dataset(tmp_path / "images", 2)
    pressed, values = actions(desk, **{
        "dataset.folder": str(folder), "length.steps": 3, "batch.size": 1, "embeddings.0.placeholder": "zkteal",
        "embeddings.0.token_count": 1, "concepts.0.folder": str(write_dataset(tmp_path / "others", 3, word="ball")),
        "concepts.0.kind": "regularization",
    })  # fmt: skip
    problems, words = told(pressed.plan(*values))
    assert problems == {} and "others (regularization): 3 images, 2 an epoch" in words
    assert "4 images an epoch / batch 1 / accumulation 1 = 4 steps an epoch; 3 steps are 0.75 epochs" in words
    assert "The run sees 3 of its 5 images" in words and desk.view().state == "idle"
    pressed, values = actions(desk)
    assert "dataset.folder" in told(pressed.plan(*values))[0]


def test_resume_goes_on_with_the_run_that_is_paused(desk, monkeypatch):
    pressed, _ = actions(desk)
    resumed = []
    monkeypatch.setattr(desk, "view", lambda: JobView(state="paused"))
    monkeypatch.setattr(desk, "resume_paused", lambda: resumed.append(True))
    assert told(pressed.resume()) == ({}, "") and resumed == [True]


@pytest.mark.parametrize(
    ("error", "words"), [(PivotalError("it is <busy>"), "it is &lt;busy&gt;"), (ZeroDivisionError("x"), "log")]
)
def test_every_failure_of_a_button_is_words(desk, monkeypatch, error, words):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(desk, "start", fail)
    pressed, values = actions(desk)
    assert words in told(pressed.train(*values))[1]


def test_the_tab_and_the_routes_are_put_into_the_page(desk):
    shell = Shell()
    assert register(desk.host, shell, desk, title="Pivotal") is desk
    ((title, identifier, build),) = shell.tabs
    assert (title, identifier) == ("Pivotal", TAB_ID) and identifier != "train"
    with gr.Blocks() as blocks:
        build()
    ids = {getattr(block, "elem_id", None) for block in blocks.blocks.values()}
    assert {"pivotal_page", "pivotal_start", "pivotal_resume", "pivotal_progress", "pivotal_samples", "pivotal_embeddings"} <= ids
    assert len(shell.attached) == 1


def test_a_reloaded_ui_finds_the_desk_of_before(desk, monkeypatch):
    shells = [Shell(), Shell()]
    shells[1].title = "Pivotal"
    pages = iter(shells)
    monkeypatch.setattr(pivotal.register, "detect", lambda: (desk.host, next(pages)))
    monkeypatch.setattr(pivotal.register, "_process", {})
    pivotal.register.register_in_webui()
    first = pivotal.register._process["desk"]
    pivotal.register.register_in_webui()
    assert pivotal.register._process["desk"] is first
    assert [shell.tabs[0][0] for shell in shells] == ["Train", "Pivotal"]


def test_where_we_cannot_work_the_webui_is_told_why_and_goes_on(monkeypatch, caplog):
    def refuse():
        raise HostError("no model here")

    monkeypatch.setattr(pivotal.register, "detect", refuse)
    pivotal.register.register_in_webui()
    assert "no model here" in caplog.text


@pytest.mark.parametrize(("name", "folder"), [("toy", "/demo"), ("sd15", "")])
def test_the_form_is_ready_for_the_demo_on_the_toy_and_empty_elsewhere(desk, monkeypatch, name, folder):
    loaded = Checkpoint(name, Path("x.safetensors"), "sd1")
    monkeypatch.setattr(pivotal.ui.tab, "demo_run", lambda: {"dataset.folder": "/demo"})
    monkeypatch.setattr(desk.host, "checkpoint", lambda: loaded)
    with gr.Blocks() as blocks:
        build_tab(desk)
    (field,) = [block for block in blocks.blocks.values() if getattr(block, "elem_id", None) == "pivotal_dataset_folder"]
    assert field.value == folder


def test_a_demo_is_a_run_file_beside_its_images(tmp_path):
    assert demo_run(tmp_path) == {}
    (tmp_path / "demo" / "word").mkdir(parents=True)
    (tmp_path / "demo" / "word.yaml").write_text("name: word\ndataset: {folder: word}\n", encoding="utf-8")
    assert demo_run(tmp_path) == {"name": "word", "dataset.folder": str(tmp_path / "demo" / "word")}


def test_labels_say_where_an_option_stands():
    assert label_of_key(TrainConfig, "dataset.folder") == "Dataset folder"
    assert label_of_key(TrainConfig, "embeddings.1.token_count") == "Embedding 2, token count"
    assert label_of_key(TrainConfig, "embeddings") == "Embeddings"
    assert label_of_key(TrainConfig, "no.such") == "no.such"
