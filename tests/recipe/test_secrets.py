"""A run tells no secret: the key of Weights & Biases, the logins of the WebUI, the key of its page."""

from __future__ import annotations

import base64
import logging
import sys
import types
from pathlib import Path

from fastapi import FastAPI
from PIL import Image

from api_client import API, Described
from fake_host import FakeHost, write_dataset
from pivotal.api.routes import all_routes, attach_routes
from pivotal.hosts.protocol import Logins
from pivotal.jobs.desk import Desk
from pivotal.jobs.signed import page_cookie, page_key
from pivotal.register import panels

KEY = "wandb0c4f1d9a7be36251f8c0d4e9a7b31f65c2d8e0"
PAGE, PASSWORD = "page-password-4471", "api-password-9923"


class Service:
    """Stands in for the package of Weights & Biases: notes what it is given, and names the key when it fails."""

    class Error(Exception):
        pass

    def __init__(self, monkeypatch):
        self.given: list[object] = []
        wandb, errors = types.ModuleType("wandb"), types.ModuleType("wandb.errors")
        wandb.Settings, wandb.Image = dict, lambda path, caption: caption
        wandb.init, errors.Error = self.init, self.Error
        monkeypatch.setitem(sys.modules, "wandb", wandb)
        monkeypatch.setitem(sys.modules, "wandb.errors", errors)
        monkeypatch.setattr("pivotal.jobs.logs.run_logs.find_spec", lambda name: True)
        monkeypatch.setenv("WANDB_API_KEY", KEY)

    def init(self, **values):
        self.given.append(values)
        return self

    def log(self, values, step):
        self.given.append(values)
        if step > 1:
            raise self.Error(f"401 for the key {KEY}")

    def finish(self):
        pass


def everything_in(folder: Path) -> dict[str, str]:
    """What lies in a folder, by path; of pictures also the texts that are packed in them."""
    found = {str(path): f"{path} {path.read_bytes().decode('latin-1')}" for path in folder.rglob("*") if path.is_file()}
    for path in folder.rglob("*.png"):
        with Image.open(path) as image:
            found[str(path)] += repr(image.info)
    return found


def basic(name: str, password: str) -> str:
    return base64.b64encode(f"{name}:{password}".encode()).decode()


def test_no_file_log_event_or_answer_of_a_run_has_a_key_or_a_password(tmp_path, monkeypatch, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    service, desk, app = Service(monkeypatch), Desk(FakeHost(tmp_path / "host")), FastAPI()
    attach_routes(app, desk, panels(desk), Logins({"ann": PAGE}, {"bob": PASSWORD}))
    options = {"name": "told", "dataset": {"folder": str(write_dataset(tmp_path / "images", 2)), "resolution": 64},
               "embeddings": [{"placeholder": "zkteal", "token_count": 1}], "network": {"method": "lora", "rank": 1},
               "length": {"steps": 3}, "batch": {"size": 1}, "measure": {"images": 0},
               "logs": {"wandb": "cats", "tensorboard": True}, "samples": {"every_steps": 2, "steps": 1, "prompts": "a zkteal"},
               "save": {"every_steps": 2, "state_every_steps": 2}}
    with Described(app) as client:
        client.headers["Authorization"] = f"Basic {basic('bob', PASSWORD)}"
        assert client.get(f"{API}/job", headers={"Authorization": f"Basic {basic('ann', PAGE)}"}).status_code == 401
        (waiting,) = client.post(f"{API}/queue", json={"options": options}).json()["runs"]  # is kept for a restart
        assert client.post(f"{API}/jobs", json={"options": options}).status_code == 200
        assert desk.wait(120).state == "finished", desk.view().message
        answers = {route.path: client.get(API + route.path.replace("{id}", waiting["id"])).text
                   for route in all_routes(desk, panels(desk)) if route.method == "GET"}
    assert "401 for the key" in answers["/job"], "the failure itself is told"
    files = everything_in(tmp_path)
    assert {Path(path).suffix for path in files} >= {".safetensors", ".csv", ".jsonl", ".yaml", ".png", ".json"}
    places = {"files": files.values(), "answers": answers.values(), "log": [caplog.text], "screen": capfd.readouterr(),
              "events": [repr(desk.events())], "service": [repr(service.given)]}

    def holding(text: str) -> set[str]:
        return {place for place, parts in places.items() if any(text in part for part in parts)}

    assert holding("zkteal") >= {"files", "answers", "log", "events", "service"}, "what is no secret is found"
    secrets = [KEY, PAGE, PASSWORD, basic("bob", PASSWORD), basic("ann", PAGE), page_key(), page_cookie()]
    assert {secret: holding(secret) for secret in secrets if holding(secret)} == {}
