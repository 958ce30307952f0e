"""The API as a whole: what it says of itself, whom it lets in, and that no address reads, writes or tells what it must not."""

from __future__ import annotations

import base64
import re

import pytest
from fastapi import FastAPI

from api_client import API, Described
from fake_host import FakeHost, write_dataset
from pivotal.api.description import described
from pivotal.api.discreet import Discreet
from pivotal.api.fields import Field
from pivotal.api.routes import all_routes, attach_routes
from pivotal.config.options import everything
from pivotal.config.train import TrainConfig
from pivotal.errors import HostError
from pivotal.hosts.embedded.app import EmbeddedShell
from pivotal.hosts.embedded.host import EmbeddedHost
from pivotal.hosts.logins import logins_of
from pivotal.hosts.protocol import Logins
from pivotal.jobs.desk import Desk
from pivotal.jobs.signed import page_cookie, page_key
from pivotal.register import panels, register

SECRET = "SECRET-7231"


class Server:
    """The API over a host whose folders lie beside what nobody may read."""

    def __init__(self, data, logins=None):
        self.data, self.images = data, write_dataset(data / "images", 2)
        self.host = FakeHost(data / "host")
        self.desk = Desk(self.host)
        self.app = FastAPI()
        self.routes = all_routes(self.desk, panels(self.desk))
        attach_routes(self.app, self.desk, panels(self.desk), logins)
        self.client = Described(self.app)

    def address(self, route, **parts):
        return API + re.sub(r"{(\w+)}", lambda found: parts.get(found[1], "0"), route.path)

    def ask(self, route, body=None, **given):
        if route.method == "GET":
            return self.client.get(self.address(route), **given)
        return self.client.post(self.address(route), json=body or {}, **given)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    data = tmp_path_factory.mktemp("api")
    for name in ("secret.txt", "secret.png", "secret.safetensors", "secret.yaml"):
        (data / name).write_text(SECRET, encoding="utf-8")
    server = Server(data)
    (server.images / "link.png").symlink_to(data / "secret.png")
    with server.client:  # one loop for all requests, which is much quicker
        yield server


# What it says of itself


def test_every_address_is_described_with_all_that_it_takes_and_answers(server):
    whole = server.client.get("/openapi.json").json()
    served = {(path.path, method) for path in server.app.router.routes if getattr(path, "path", "").startswith(API)
              for method in path.methods or () if "{rest:path}" not in path.path and method != "HEAD"}
    ours = {(path, method.upper()) for path in whole["paths"] if path.startswith(API) for method in whole["paths"][path]}
    assert ours == served and len(ours) >= 50
    for path, methods in whole["paths"].items():
        for method, operation in methods.items():
            assert 8 < len(operation["summary"]) < 160 and "{" not in operation["summary"], (path, operation["summary"])
            assert {"200", "500"} <= set(operation["responses"]) and operation["responses"]["200"]["content"]
            assert {part["name"] for part in operation["parameters"] if part["in"] == "path"} == set(re.findall(r"{(\w+)}", path))
            assert ("requestBody" in operation) == (method == "post")
            for part in operation["parameters"]:
                assert len(part["description"]) > 8
    identifiers = [operation["operationId"] for methods in whole["paths"].values() for operation in methods.values()]
    assert len(set(identifiers)) == len(identifiers)


def test_the_description_names_every_option_with_its_help(server):
    _, components = described(server.routes)
    run, missing = components["schemas"]["PivotalRun"]["properties"], []
    for option in everything(TrainConfig):
        first, *rest = option.key.split(".")
        entry = run.get(first, {})
        for part in rest:
            entry = entry["items"] if part == "N" else entry["properties"].get(part, {})
        if entry.get("description") != option.spec.help:
            missing.append(option.key)
    assert not missing


def test_it_is_described_in_the_words_of_the_hosts_own_version(server):
    whole = server.client.get("/openapi.json").json()
    kinds = {type(schema.get("type")) for schema in _schemas(whole) if "type" in schema}
    assert kinds == ({str} if whole["openapi"].startswith("3.0") else {str, list})
    names = set(re.findall(r'#/components/schemas/(\w+)', str(whole)))
    assert names <= set(whole["components"]["schemas"]) and "PivotalJobView" in names


def _schemas(value):
    if isinstance(value, dict):
        if not isinstance(value.get("type"), dict):  # a property called type is none
            yield value
        for part in value.values():
            yield from _schemas(part)
    elif isinstance(value, list):
        for part in value:
            yield from _schemas(part)


def test_an_address_or_a_method_that_is_none_is_told_as_json(server):
    assert server.client.get(API + "/nothing").json() == {"error": "there is no such address"}
    reply = server.client.delete(API + "/queue")
    assert reply.status_code == 405 and set(reply.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


@pytest.mark.parametrize(("body", "status", "words"), [
    ('{"options": {}, "resum": true}', 400, "'resum' is not known here; there are options, resume"),
    ('{"options": {}, "resume": 1}', 400, "resume must be true or false"), ('{"options": []}', 400, "options must be an object"),
    ('{"options": {"seed": NaN}}', 400, "no number NaN"), ('{"options": {"seed": 1e999}}', 400, "too large"),
    ('{"options": {"name": "\\ud800"}}', 400, "not JSON"), ("[" * 100_000, 400, "not JSON"), ("5", 400, "JSON object"),
])
def test_a_body_that_cannot_be_is_refused_in_words(server, body, status, words):
    reply = server.client.post(API + "/jobs", content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == status and words in reply.json()["error"]


def test_a_body_without_end_is_not_kept(server, monkeypatch):
    monkeypatch.setattr("pivotal.api.http._LARGEST", 1000)
    reply = server.client.post(API + "/check", json={"options": {"name": "x" * 2000}})
    assert reply.status_code == 413 and "1000 bytes" in reply.json()["error"]


# Whom it lets in


def basic(name, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


@pytest.mark.parametrize(("flags", "right", "wrong"), [
    ({"page": {"a": "p"}, "api": {"b": "q:1"}}, ("b", "q:1"), ("a", "p")), ({"page": {"a": "p"}}, ("a", "p"), ("a", "P"))])
def test_every_address_asks_for_what_the_host_asks_for(tmp_path, flags, right, wrong):
    server = Server(tmp_path, Logins(**flags))
    served = [route for route in server.app.router.routes if route.path.startswith(API) and "{rest:path}" not in route.path]
    assert len(served) == len(server.routes) >= 50
    with server.client:
        refused = {route.path: server.ask(route) for route in server.routes}
    for path, reply in refused.items():
        assert reply.status_code == 401 and "Basic" in reply.headers["www-authenticate"], path
    for headers in (basic(*wrong), basic(right[0], ""), {"Authorization": "Basic ?"}, {"Authorization": f"Bearer {page_key()}"}):
        assert server.client.get(API + "/job", headers=headers).status_code == 401
    assert server.client.get(API + "/job", headers=basic(*right)).status_code == 200
    server.client.cookies.set(page_cookie(), "wrong")
    assert server.client.get(API + "/job").status_code == 401
    server.client.cookies.set(page_cookie(), page_key())
    assert server.client.get(API + "/job").status_code == 200
    assert "PivotalBasic" in server.client.get("/openapi.json").json()["components"]["securitySchemes"]


def test_the_page_gives_its_key_only_behind_the_login(tmp_path):
    host = EmbeddedHost(tmp_path, device="cpu")
    shell = EmbeddedShell(host, Logins({"a": "p"}))
    register(host, shell)
    with Described(shell.make_app()) as client:
        for address in ("/", "/config"):
            assert page_key() not in client.get(address).text
        assert client.get(API + "/host").status_code == 401
        assert client.post("/login", data={"username": "a", "password": "x"}).status_code == 400
        assert client.post("/login", data={"username": "a", "password": "p"}).status_code == 200
        assert f"{page_cookie()}={page_key()}" in client.get("/config").text
        client.cookies.set(page_cookie(), page_key())
        assert client.get(API + "/host").status_code == 200


def test_flags_of_hosts_are_read_as_hosts_read_them(tmp_path):
    (tmp_path / "who").write_text("c:d\n\ne:f:g,h:i\n", encoding="utf-8")
    flags = type("Flags", (), {"gradio_auth": " a:b ,", "gradio_auth_path": str(tmp_path / "who"), "api_auth": None})
    found = logins_of(flags, "gradio_auth", "gradio_auth_path", "api_auth")
    assert found == Logins({"a": "b", "c": "d", "e": "f:g", "h": "i"}, {})
    assert EmbeddedShell(None, found).logins() is found


# What it must neither read, nor write, nor tell


def hostile(data, number):
    """Paths that lead out; the last of them another one for each field that is asked."""
    rare = ["..\\..\\secret", "link.png", "~root/x", "/proc/self/environ", "x" * 9000]
    return [str(data / "secret"), "../../secret", str(data / "secret.png"), "C:\\Windows\\win.ini", "\\\\host\\share\\a.png",
            "a\0b", rare[number % len(rare)]]  # fmt: skip


HARMLESS = ("prompts", "png", "negative", "find", "captioner", "search", "tag", "kind", "version")  # no paths


def has_text(field: Field) -> bool:
    return "string" in str(field.schema) and "enum" not in field.schema


def test_no_address_reads_or_writes_outside_or_tells_where_things_lie(server):
    """Every text of every address, with every hostile path in turn; folders that the asker names himself may be read."""
    folder = str(server.images)
    server.client.post(API + "/dataset/open", json={"folder": folder})
    good = {"folder": folder, "name": "00.png", "run": "run", "save": "result", "text": "x", "to": "up", "png": "eA==",
            "target": str(server.data / "images"), "options": {}}
    files = {path: path.read_bytes() for path in server.data.rglob("*") if path.is_file() and "host" not in path.parts}
    asked = 0
    for route in server.routes:
        for field in (*route.body, *route.query, *route.in_path):
            if not has_text(field) and field.name != "options" or field.name in HARMLESS:
                continue
            for path in hostile(server.data, asked):
                value = {"name": path, "dataset": {"folder": "", "mask_folder": path}} if field.name == "options" else path
                if route.method == "POST":
                    reply = server.ask(route, {key: good[key] for key in good if key in {one.name for one in route.body}}
                                       | {field.name: value})
                else:
                    reply = server.client.get(server.address(route), params={field.name: value})
                assert reply.status_code < 500 and SECRET not in reply.text, (route.path, field.name, path)
                if reply.status_code >= 400:
                    told = str(reply.json()).replace("\\\\", "\\")
                    assert "Traceback" not in told and str(server.host.folders().scratch) not in told, (route.path, told)
                    if str(server.data) not in path:  # of what was sent, a beginning may come back
                        assert str(server.data) not in told.replace(folder, ""), (route.path, field.name, told)
                asked += 1
    server.desk.datasets.work.wait(300)
    assert asked > 400
    now = {path: path.read_bytes() for path in server.data.rglob("*") if path.is_file() and "host" not in path.parts}
    changed = [path for path in files if now.get(path) != files[path]]
    new = {path for path in set(now) - set(files) if path.parent != server.data / "secret"}  # where cut copies were asked for
    assert new <= {server.images / "00-masklabel.png"} and changed in ([], [server.images / "00.txt"])


def test_sentences_keep_what_was_said_and_shorten_what_was_not(server):
    discreet, folders = Discreet(server.host), server.host.folders()
    assert discreet.text(f"{folders.loras}/a.pt is gone", []) == "the LoRA folder/a.pt is gone"
    assert discreet.text("/home/me/x/y.png is damaged.", []) == "…/y.png is damaged."
    assert discreet.text("C:\\Users\\me\\y.png: no", ["z"]) == "…/y.png: no"
    assert discreet.text("/mine/a/b.png is damaged.", ["/mine/a"]) == "/mine/a/b.png is damaged."
    assert discreet.text("it has 1/2 and https://a.b/c/d of and/or", []) == "it has 1/2 and https://a.b/c/d of and/or"


def test_a_host_whose_disk_is_gone_is_told_of_in_words(server, monkeypatch):
    def gone():
        raise HostError("/mnt/disk/pivotal cannot be made: Input/output error.")

    monkeypatch.setattr(server.host, "folders", gone)
    reply = server.client.post(f"{API}/check", json={"options": {}})
    assert (reply.status_code, reply.json()) == (400, {"error": "…/pivotal cannot be made: Input/output error."})


def test_the_key_of_wandb_is_in_no_answer(server, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    body = {"options": {"logs": {"wandb": "project"}, "dataset": {"folder": str(server.images)}}}
    for path in ("/check", "/plan", "/run_file", "/queue"):
        assert SECRET not in server.client.post(API + path, json=body).text
    for route in server.routes:
        if route.method == "GET":
            assert SECRET not in server.ask(route).text
