"""Logs take what events say, and never end a run."""

from __future__ import annotations

import sys
import types

import pytest

from pivotal.config.build import build
from pivotal.config.sections.logs import Logs
from pivotal.config.train import TrainConfig
from pivotal.events import Finished, Measured, Noticed, Sampled, StepDone
from pivotal.jobs.logs.run_logs import log_problems, logs
from pivotal.jobs.paths import RunPaths
from plain_events import fields, records

STEP = StepDone(3, 8, 0.5, 0.6, {"unet": 1e-4, "zkteal": 0.02}, 0.1, 12)
MEASURED = Measured(3, 0.4, {"100": 0.3, "900": 0.5}, {"cats": 0.1, "dogs": 0.7}, True, True)


def config(**options):
    flat = {f"logs.{key}": value for key, value in options.items()}
    return build(TrainConfig, flat | {"name": "my run", "dataset.folder": "/secret/place", "embeddings.0.placeholder": "x"})


class Service:
    """Stands in for the package of Weights & Biases; notes what it is given."""

    class Error(Exception):
        pass

    def __init__(self, fails=False):
        self.logged, self.finished, self.fails, self.started = [], 0, fails, []
        module = types.ModuleType("wandb")
        module.Image = lambda path, caption: ("image", path, caption)
        module.Settings = lambda **values: values
        module.init = self.init
        errors = types.ModuleType("wandb.errors")
        errors.Error = Service.Error
        self.modules = {"wandb": module, "wandb.errors": errors}

    def init(self, **values):
        self.started.append(values)
        return self

    def log(self, values, step):
        if self.fails:
            raise Service.Error("network\nis gone")
        self.logged.append((step, values))

    def finish(self):
        self.finished += 1


def install(monkeypatch, service):
    for name, module in service.modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "k")
    return service


def fed(options, folder, events, resumed=False):
    told = []
    folder.mkdir(exist_ok=True)
    with logs(options, RunPaths(folder), told.append, resumed=resumed) as emit:
        for event in events:
            emit(event)
    return told


def test_tensorboard_gets_curves_and_samples(tmp_path):
    from PIL import Image

    image = tmp_path / "a.png"
    Image.new("RGB", (8, 16)).save(image)
    events = [STEP, MEASURED, Sampled(3, "a cat", image, 7)]
    assert fed(config(tensorboard=True, csv=False), tmp_path / "run", events) == events
    (path,) = (tmp_path / "run" / "tensorboard" / "run-0001").iterdir()
    values = [fields(fields(fields(record)[5])[1]) for record in records(path.read_bytes())[1:]]
    curves = {value[1].decode(): value[2] for value in values if 2 in value}
    assert curves == {key: pytest.approx(value) for key, value in {
        "loss/step": 0.5, "loss/smooth": 0.6, "time/seconds_per_step": 0.1, "rate/unet": 1e-4, "rate/zkteal": 0.02,
        "measured/error": 0.4, "measured/timestep_100": 0.3, "measured/timestep_900": 0.5, "measured/concept_cats": 0.1,
        "measured/concept_dogs": 0.7}.items()}
    (picture,) = [fields(value[4]) for value in values if 4 in value]
    assert (picture[1], picture[2], picture[4]) == (16, 8, image.read_bytes())


def test_a_resumed_run_goes_on_in_its_folder_and_a_new_one_has_its_own(tmp_path):
    for resumed in (False, True, False):
        fed(config(tensorboard=True), tmp_path / "run", [STEP], resumed)
    folders = {path.name: len(list(path.iterdir())) for path in (tmp_path / "run" / "tensorboard").iterdir()}
    assert folders == {"run-0001": 2, "run-0002": 1}


def test_weights_and_biases_gets_the_same_and_no_paths(tmp_path, monkeypatch):
    service = install(monkeypatch, Service())
    events = [STEP, MEASURED, Sampled(3, "a cat", tmp_path / "a.png")]
    fed(config(wandb="cats", csv=False), tmp_path / "run", events)
    (started,) = service.started
    assert started["project"] == "cats" and started["name"] == "my run" and "/secret" not in str(started["config"])
    assert started["config"]["pivotal.seed"] == "1"
    assert [step for step, _ in service.logged] == [3, 3, 3] and service.finished == 1
    assert service.logged[0][1]["rate/unet"] == 1e-4 and service.logged[1][1]["measured/error"] == 0.4
    assert service.logged[2][1] == {"sample/a cat": ("image", str(tmp_path / "a.png"), "a cat")}
    fed(config(wandb="cats"), tmp_path / "run", [STEP], resumed=True)
    fed(config(wandb="cats"), tmp_path / "run", [STEP])
    identifiers = [started["id"] for started in service.started]
    assert identifiers[0] == identifiers[1] != identifiers[2]


def test_a_log_that_fails_is_told_once_and_the_others_go_on(tmp_path, monkeypatch):
    service = install(monkeypatch, Service(fails=True))
    told = fed(config(wandb="cats", csv=True), tmp_path / "run", [STEP, STEP, Finished(8, 1.0, 0.1, (), False)])
    (notice,) = [event for event in told if isinstance(event, Noticed)]
    assert notice.text == "Weights & Biases is not written any more: network is gone. The run goes on."
    assert len((tmp_path / "run" / "steps.csv").read_text("utf-8").splitlines()) == 3
    assert service.finished == 1
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "steps.csv").mkdir()
    (notice, _) = fed(config(), blocked, [STEP])
    assert "steps.csv is not written" in notice.text


def test_nobody_is_asked_for_a_key(tmp_path, monkeypatch):
    service, file = install(monkeypatch, Service()), tmp_path / "netrc"
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(file))
    for text in (None, "machine example.com login user password x", "this is no netrc"):
        if text:
            file.write_text(text, encoding="utf-8")
        (notice, _) = fed(config(wandb="cats"), tmp_path / "run", [STEP])
        assert "wandb login" in notice.text and not service.started
    file.write_text("machine api.wandb.ai login user password x", encoding="utf-8")
    fed(config(wandb="cats"), tmp_path / "run", [STEP])
    file.unlink()
    monkeypatch.setenv("WANDB_MODE", "offline")
    fed(config(wandb="cats"), tmp_path / "run", [STEP])
    assert len(service.started) == 2


def test_a_missing_package_is_said_before_the_run(monkeypatch):
    monkeypatch.setattr("pivotal.jobs.logs.run_logs.find_spec", lambda name: None)
    assert "pip install wandb" in log_problems(Logs(wandb="cats"))["logs.wandb"]
    assert log_problems(Logs(wandb=" ")) == {}
    monkeypatch.setattr("pivotal.jobs.logs.run_logs.find_spec", lambda name: object())
    assert log_problems(Logs(wandb="cats")) == {}
