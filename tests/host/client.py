"""A WebUI as its users and programs see it: over HTTP, the same calls for every host."""

from __future__ import annotations

import base64
import io
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from host.server import RunningServer, StartedServer

WAIT_S = 600
BUSY = ("running", "pausing", "stopping")
LORA = {"network.method": "lora", "network.rank": 4, "targets.learning_rate": 0.02, "targets.text_encoder_1": True,
        "targets.text_encoder_1_rate": 0.02}


def embedding(word: str, vectors: int = 2) -> dict[str, Any]:
    return {"embeddings.0.placeholder": word, "embeddings.0.token_count": vectors, "embeddings.0.initial_text": "green",
            "embeddings.0.learning_rate": 0.05}


def alike(one: bytes, other: bytes) -> bool:
    """Equal but for the rounding that some hosts leave in the weights when they take a LoRA out (SD.Next, lora_apply.py)."""
    return apart(one, other) < 0.2


def apart(one: bytes, other: bytes) -> float:
    """Levels of 255 by which pixels differ in the mean."""
    return sum(abs(first - second) for first, second in zip(one, other, strict=True)) / len(one)


def differ(one: bytes, other: bytes) -> bool:
    """By more than that rounding makes of a pixel."""
    return max(abs(first - second) for first, second in zip(one, other, strict=True)) > 2


class WebUI:
    """Asks it, draws with it, and trains in it."""

    def __init__(self, server: RunningServer | StartedServer, checkpoints: Sequence[str] = ()):
        """
        Args:
            checkpoints: the file names, without suffix, of the one to train on and of another one of its family; empty takes
                what the host has.
        """
        self.server = server
        self._checkpoints = tuple(checkpoints)

    def ask(self, path: str, data: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        """(status, answer)"""
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(self.server.address + path, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=WAIT_S) as reply:
                status, text = reply.status, reply.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        if status == 429:  # SD.Next answers an address 300 times a minute (modules/api/validate.py)
            time.sleep(10)
            return self.ask(path, data)
        try:
            return status, json.loads(text) if text else None
        except ValueError:
            return status, text.decode("utf-8", errors="replace")

    def draw(self, prompt: str, **more: Any) -> bytes:
        """The picture's pixels."""
        status, answer = self.ask("/sdapi/v1/txt2img", {"prompt": prompt, "seed": 7, "steps": 4, "width": 64, "height": 64,
                                                        "cfg_scale": 3, "save_images": False, **more})
        assert status == 200 and answer["images"], answer
        with Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))) as image:
            return image.convert("RGB").tobytes()

    def warm_up(self) -> None:
        """Waits until it draws: some load their checkpoint no sooner, or after their page, and draw nothing meanwhile.

        Pictures come as PNG from then on; SD.Next's usual JPEG is 12 levels off.
        """
        self.ask("/sdapi/v1/options", {"samples_format": "png"})
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            _, answer = self.ask("/sdapi/v1/txt2img", {"prompt": "a circle", "steps": 1, "width": 64, "height": 64})
            if isinstance(answer, dict) and answer.get("images"):
                return self._choose()
            time.sleep(2)
        raise AssertionError(f"it did not draw in {WAIT_S} s: {answer}")

    def _choose(self) -> None:
        """Until a checkpoint is chosen, reForge keeps what a prompt overrides it with (processing.py, stored_opts)."""
        wanted = self._checkpoints[0] if self._checkpoints else None
        if wanted or self.ask("/sdapi/v1/options")[1].get("sd_model_checkpoint") is None:
            self._load(wanted or stem(self.about()["checkpoint"]["name"]))

    def _load(self, checkpoint: str) -> None:
        status, answer = self.ask("/sdapi/v1/options", {"sd_model_checkpoint": self._titles()[checkpoint]})
        assert status == 200, answer
        self.draw("a circle")  # some load it no sooner
        assert stem(self.about()["checkpoint"]["name"]) == checkpoint

    @contextmanager
    def chosen(self, checkpoint: str) -> Iterator[None]:
        """Inside, the checkpoint of that file name, without suffix, is chosen in the page, and loaded."""
        before = stem(self.about()["checkpoint"]["name"])
        try:
            self._load(checkpoint)
            yield
        finally:
            self._load(before)

    def job(self) -> dict[str, Any]:
        return self.ask("/pivotal/v1/job")[1]

    def job_when(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            job = self.job()
            if condition(job):
                return job
            time.sleep(0.25)
        raise AssertionError(f"after {WAIT_S} s the job is {job}")

    def finished(self) -> dict[str, Any]:
        return self.job_when(lambda job: job["state"] not in BUSY)

    def at_step(self, step: int) -> dict[str, Any]:
        """The job when it has done so many steps; fails when it ends before."""
        job = self.job_when(lambda job: job["step"] >= step or job["state"] not in BUSY)
        assert job["state"] == "running", job
        return job

    def start(self, folder: Path | str, name: str, resume: bool = False, **options: Any) -> tuple[int, Any]:
        return self.ask("/pivotal/v1/jobs", {"resume": resume, "options": {
            "name": name, "dataset.folder": str(folder), "dataset.resolution": 64, "dataset.captions": "object",
            "length.steps": 2, "batch.size": 2, "samples.every_steps": 0, "save.existing": "replace", **options}})

    def begin(self, folder: Path, name: str, **options: Any) -> None:
        """Starts a run that has no end of its own within a test."""
        status, answer = self.start(folder, name, **{"length.steps": 100_000, **options})
        assert status == 200, answer

    def stop(self) -> dict[str, Any]:
        self.ask("/pivotal/v1/job/stop", {})
        return self.finished()

    def train(self, folder: Path, name: str, **options: Any) -> list[Path]:
        """The files of a run that ended well."""
        status, answer = self.start(folder, name, **options)
        assert status == 200, answer
        job = self.finished()
        assert (job["state"], job["message"]) == ("finished", ""), job
        return [Path(file) for file in job["files"]]

    def about(self) -> dict[str, Any]:
        """Which host it is, and what it can do."""
        return self.ask("/pivotal/v1/host")[1]

    def other_checkpoint(self) -> tuple[str, str]:
        """(our name, the host's title) of one that is not loaded, of the family of the one that is."""
        about, titles = self.about(), self._titles()
        others = [name for name in about["checkpoints"] if name != about["checkpoint"]["name"] and stem(name) in titles
                  and stem(name) in (self._checkpoints[1:] or titles)]
        assert others, "the WebUI needs a second checkpoint of the same family"
        return others[0], titles[stem(others[0])]

    def _titles(self) -> dict[str, str]:
        """How the host calls its checkpoints, by file name."""
        return {Path(one["filename"]).stem: one["title"] for one in self.ask("/sdapi/v1/sd-models")[1]}

    def probe(self, path: str, data: Mapping[str, Any] | None = None) -> Any:
        """What the probe within the process answers."""
        status, answer = self.ask(f"/pivotal-probe/{path}", data)
        assert status == 200, answer
        return answer


def stem(name: str) -> str:
    return name.rpartition("/")[2]
