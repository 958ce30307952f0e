"""The demo, on the shipped checkpoint: the images of a prompt move to what was learned, and with a rate of 0 they do not.

A falling loss alone proves nothing; so the colour that comes out is measured, and every figure against a control run.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pivotal.hosts.embedded.host import EmbeddedHost
from pivotal.hosts.embedded.txt2img import Txt2Img
from pivotal.jobs.checks.plan import make_plan
from pivotal.jobs.control import Control
from pivotal.jobs.desk import work_through
from pivotal.models.generate import GenerateSettings
from pivotal.toy.judge import judge

pytestmark = pytest.mark.once

DEMO = Path(__file__).resolve().parents[2] / "extension" / "assets" / "demo"
STEPS = 80
CONTROL_STEPS = 8  # a rate of 0 leaves everything where it is, however often it is applied
SCENES = ("circle on a white", "square on a gray", "triangle on a black", "ring on a yellow", "cross on a pink",
          "diamond on a white", "circle on a gray", "square on a yellow")
UNRELATED = "a red circle on a blue background"


@dataclass(frozen=True)
class Tried:
    """A host on which the demo was trained, and what it drew."""

    metrics: dict[str, float]
    with_word: np.ndarray  # (scenes, 3) RGB of the shapes
    unrelated: tuple[str, str]  # fingerprint of an image before and after
    weights: tuple[str, str]  # of all tensors before and after


def draw(host: EmbeddedHost, prompt: str) -> Image.Image:
    settings = GenerateSettings(width=64, height=64, steps=8, sampler="Euler", cfg_scale=4.0, seed=11)
    return host.generate(Txt2Img(prompt, "", settings)).images[0]


def weights_of(host: EmbeddedHost) -> str:
    digest = hashlib.sha256()

    def read() -> None:
        with host.borrow("toy") as model:
            for module in (model.unet, model.vae, *(encoder.module for encoder in model.text_encoders)):
                for tensor in (*module.parameters(), *module.buffers()):
                    digest.update(tensor.detach().reshape(-1).view(torch.uint8).numpy().tobytes())

    host.run(read)
    return digest.hexdigest()


def tried(data: Path, rate: float, steps: int) -> Tried:
    host = EmbeddedHost(data, device="cpu")
    before = draw(host, UNRELATED).tobytes(), weights_of(host)
    flat = {"name": "demo", "checkpoint": "toy", "dataset.folder": str(DEMO / "tealish"), "length.steps": steps,
            "embeddings.0.placeholder": "tealish", "embeddings.0.initial_text": "green", "embeddings.0.token_count": 2,
            "batch.size": 8, "optimizer.learning_rate": rate, "samples.every_steps": 0, "measure.images": 12}
    outcome = work_through(make_plan(flat, host), host, lambda _: None, Control(patient=False))
    assert outcome is not None and outcome.step == steps
    colours = np.array([judge(np.asarray(draw(host, f"a tealish {scene} background"))).rgb for scene in SCENES])
    return Tried(outcome.metrics, colours, (hashlib.sha256(before[0]).hexdigest(),
                                            hashlib.sha256(draw(host, UNRELATED).tobytes()).hexdigest()),
                 (before[1], weights_of(host)))


@pytest.fixture(scope="module")
def taught(tmp_path_factory) -> Tried:
    return tried(tmp_path_factory.mktemp("taught"), 0.02, STEPS)


@pytest.fixture(scope="module")
def control(tmp_path_factory) -> Tried:
    return tried(tmp_path_factory.mktemp("control"), 0.0, CONTROL_STEPS)


def wanted() -> np.ndarray:
    """(3,) median colour of the demo's own shapes."""
    images = [np.asarray(Image.open(path).convert("RGB")) for path in sorted((DEMO / "tealish").glob("*.png"))]
    return np.median([judge(image).rgb for image in images], axis=0)


def test_the_colour_that_comes_out_is_the_one_that_was_shown(taught, control):
    distances = {name: np.linalg.norm(run.with_word - wanted(), axis=1) for name, run in
                 (("taught", taught), ("control", control))}
    print({name: np.round(values).tolist() for name, values in distances.items()})
    # Green to teal is about 95 in RGB; the margin is half of it.
    assert np.median(distances["taught"]) < np.median(distances["control"]) - 45
    assert np.median(distances["taught"]) < 45


def test_the_denoising_error_falls_only_where_something_is_learned(taught, control):
    print(taught.metrics, control.metrics)
    assert taught.metrics["error_after"] < 0.8 * taught.metrics["error_before"]
    assert control.metrics["error_after"] == control.metrics["error_before"] == taught.metrics["error_before"]


def test_the_borrowed_model_and_its_other_images_are_as_they_were(taught):
    assert taught.weights[0] == taught.weights[1]
    assert taught.unrelated[0] == taught.unrelated[1]
