"""Whatever file a user is handed: it is read or refused in words. `fuzz.py` reads ten thousand."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from fake_host import FakeHost
from pivotal.api.routes import attach_routes
from pivotal.config.files import parse_run
from pivotal.errors import OptionError, PivotalError
from pivotal.jobs.desk import Desk
from property import fuzz, fuzz_kinds

TESTS = Path(__file__).resolve().parents[1]


def test_damaged_files_are_read_or_refused_in_words():
    found = fuzz.fuzz(750, seed=20)
    assert len(found) >= 15 and all(told.read + told.refused >= 50 for told in found.values())
    assert {title: told.crashes for title, told in found.items() if told.crashes} == {}


@pytest.mark.slow
def test_ten_thousand_damaged_files(figures):
    """In a process of its own, whose memory is that of the files."""
    paths = os.pathsep.join([str(TESTS.parent / "extension"), str(TESTS)])
    done = subprocess.run([sys.executable, str(TESTS / "property/fuzz.py")], capture_output=True, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": paths})
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert sum(map(sum, told["kinds"].values())) >= 10_000 and told.pop("bad") == 0
    assert all(read for read, _ in told["kinds"].values())
    figures("fuzz", told)


def test_the_fuzzer_sees_what_it_looks_for(tmp_path):
    def careless(path):
        fuzz.pickle.loads(path.read_bytes())

    kind = fuzz.Kind({"a.pt": fuzz.pickle.dumps([1])}, careless)
    told, mark, inside = fuzz.Told(), tmp_path / "in" / "mark", tmp_path / "in"
    inside.mkdir()
    (inside / "a.pt").write_bytes(fuzz.pickle.dumps(fuzz.Marker(mark)))
    fuzz._attempt(kind, inside / "a.pt", mark, told, inside)
    (inside / "b.pt").write_bytes(b"\xff")
    fuzz._attempt(kind, inside / "b.pt", mark, told, inside)
    writing = fuzz.Kind({}, lambda path: (tmp_path / "elsewhere").write_text(path.read_text("utf-8"), "utf-8"))
    (inside / "c.txt").write_text("c", "utf-8")
    fuzz._attempt(writing, inside / "c.txt", mark, told, inside)
    starting = fuzz.Kind({}, lambda path: subprocess.run([sys.executable, "-c", ""], check=True))
    fuzz._attempt(starting, inside / "c.txt", mark, told, inside)
    assert [line.partition(": ")[2][:10] for line in told.crashes][:3] == [
        "ran the fi", "Unpickling", f"open {str(tmp_path / 'elsewhere')!r}"[:10]]
    assert "subprocess.Popen" in told.crashes[3]


def test_a_few_lines_of_yaml_that_stand_for_billions_of_values_are_refused_at_once():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 12)]
    started = time.thread_time()
    for text in ("\n".join([*lines, "name: *a11"]), "name: &a [*a, *a]"):
        with pytest.raises(OptionError, match="more than 100000 values"):
            parse_run(text, "run.yaml")
    assert time.thread_time() - started < 5
    assert parse_run("sizes: &s {size: 2}\nbatch: *s\n", "run.yaml")["batch.size"] == 2  # an ordinary alias is welcome


def test_a_picture_of_a_billion_pixels_is_refused_before_it_is_decoded(tmp_path):
    file = io.BytesIO()
    Image.new("1", (8, 8)).save(file, "PNG")
    data = file.getvalue()
    header = b"IHDR" + (40_000).to_bytes(4, "big") + (30_000).to_bytes(4, "big") + data[24:29]  # 12..33: its kind, values and sum
    (tmp_path / "bomb.png").write_bytes(data[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data[33:])
    started = time.thread_time()
    with pytest.raises(PivotalError, match=r"bomb\.png"):
        fuzz_kinds.read_image(tmp_path / "bomb.png")
    assert time.thread_time() - started < 2


@pytest.fixture(scope="module")
def routes(tmp_path_factory):
    app = FastAPI()
    attach_routes(app, Desk(FakeHost(tmp_path_factory.mktemp("host"))), {})
    client = TestClient(app, raise_server_exceptions=False)
    return client, sorted({(route.path, *route.methods) for route in app.router.routes if route.path.startswith("/pivotal/")})


def test_no_body_of_a_request_is_too_much_for_the_api(routes):
    """Such as no die finds; `fuzz.py` throws damaged ones at the same addresses."""
    client, paths = routes
    bodies = [b"[" * 100_000, b'{"options":' + b'{"a":' * 2000 + b"1" + b"}" * 2001,
               b'{"options": {"name": ' + b"[" * 900 + b"]" * 900 + b"}}",
               json.dumps({"options": {"dataset.folder": "a" * 5000, "measure.folder": "~nobody/x"}}).encode(),
               b"{}", b'{"options": null}', b'{"id": 1e999, "text": ["a"], "options": {"length.steps": 1e999}}', b"\xff\xfe"]
    posts = [path for path, *methods in paths if "POST" in methods]
    assert len(posts) >= 8
    for path in posts:
        for body in bodies:
            reply = client.post(path, content=body, headers={"Content-Type": "application/json"})
            assert reply.status_code < 500, (path, body[:200], reply.text)
            assert "Traceback" not in reply.text and sys.prefix not in reply.text


def test_no_address_is_too_much_for_the_api(routes):
    client, paths = routes
    for path, *methods in paths:
        if "GET" in methods:
            for word in ("..%2f..%2fetc%2fpasswd", "%00", "a" * 5000, "%F0%9F%98%80", "-1", "1e999"):
                address = path.replace("{name}", word).replace("{id}", word).replace("{run}", word)
                reply = client.get(f"{address}?path={word}&key={word}&since={word}&size={word}&limit={word}&version={word}")
                assert reply.status_code < 500, (address, reply.text)
