"""Networks on the shipped checkpoint: a LoRA learns a shape, pivotal tuning a colour and a shape; with rates of 0 nothing.

A host trains twice under one name, first with rates of 0 (the control), then with the real ones, and each time its txt2img
draws the same prompts with the file that was written. So the second drawing also shows that no older file is remembered.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors import safe_open

from pivotal.config.files import read_run_file
from pivotal.hosts.embedded.host import EmbeddedHost
from pivotal.hosts.embedded.txt2img import Txt2Img
from pivotal.jobs.checks.plan import make_plan
from pivotal.jobs.control import Control
from pivotal.jobs.desk import work_through
from pivotal.jobs.outcome import Outcome
from pivotal.models.generate import GenerateSettings
from pivotal.toy.concepts import HELD_OUT_COLOURS, distance
from pivotal.toy.judge import judge, overlaps, segment
from runs import fingerprint

pytestmark = pytest.mark.once

DEMO = Path(__file__).resolve().parents[2] / "extension" / "assets" / "demo"
CONTROL_STEPS = 8  # a rate of 0 leaves everything where it is, however often it is applied
QUIET = {"checkpoint": "toy", "samples.every_steps": 0, "save.state_every_steps": 0, "measure.images": 12}
HEARTS = {"name": "hearts", "dataset.folder": str(DEMO / "heartix"), "length.steps": 120, "batch.size": 8,
          "network.method": "lora", "network.conv_rank": 8, "targets.learning_rate": 0.004, "schedule.kind": "cosine"}
PAIRS = (("red", "white"), ("blue", "gray"), ("yellow", "black"), ("green", "pink"), ("black", "yellow"), ("purple", "white"),
         ("brown", "gray"), ("white", "blue"))
GROUNDS = ("white", "gray", "black", "yellow", "pink", "blue")
COLOURED = tuple(f"a {colour} WORD on a {ground} background" for colour, ground in PAIRS)
TEALISH = tuple(f"a tealish WORD on a {ground} background" for ground in GROUNDS)
HEARTS_ALONE = pytest.param("hearts", marks=pytest.mark.slow)  # `both` shows the same, and the words beside
METHODS = {  # LoRA's rate was chosen among three, the others' were not searched for
    "LoRA": {"network.conv_rank": None},
    "LoRA with convolutions": {},
    "DoRA": {"network.conv_rank": None, "network.dora": True},
    "DyLoRA": {"network.method": "dylora", "targets.learning_rate": 0.003},
    "LoHa": {"network.method": "loha", "network.rank": 8, "network.alpha": 8},
    "LoKr": {"network.method": "lokr"},
    "GLoRA": {"network.method": "glora"},
    "OFT": {"network.method": "oft", "network.rank": 8, "targets.learning_rate": 0.003},
    "BOFT": {"network.method": "boft", "network.rank": 8, "targets.learning_rate": 0.003},
    "IA3": {"network.method": "ia3", "targets.learning_rate": 0.05},
    "full": {"network.method": "full", "targets.learning_rate": 0.001},
}


@dataclass(frozen=True)
class Lesson:
    """What a host that was taught by two runs of one name (control, taught) drew, each picture (64, 64, 3) uint8."""

    host: EmbeddedHost
    metrics: dict[str, dict[str, float]]  # by run
    pictures: dict[str, list[np.ndarray]]  # by run and kind of prompt, as "control shape"
    plain: tuple[list[np.ndarray], list[np.ndarray]]  # without a tag, before the first run and after the last
    weights: tuple[str, str]  # fingerprint of all tensors, as in `plain`


def pictures(host: EmbeddedHost, prompts: tuple[str, ...] | list[str], steps: int = 8) -> list[np.ndarray]:
    """One for each prompt, each from a seed of its own."""
    drawn = []
    for index, prompt in enumerate(prompts):
        settings = GenerateSettings(width=64, height=64, steps=steps, sampler="Euler", cfg_scale=4.0, seed=11 + index)
        answer = host.generate(Txt2Img(prompt, "", settings))
        assert answer.notices == (), answer.notices
        drawn.append(np.asarray(answer.images[0]))
    return drawn


def weights_of(host: EmbeddedHost) -> str:
    def read() -> str:
        with host.borrow("toy") as model:
            return fingerprint(SimpleNamespace(model=model))

    return host.run(read)


def train(host: EmbeddedHost, flat: dict) -> Outcome:
    outcome = work_through(make_plan({**flat, **QUIET}, host), host, lambda _: None, Control(patient=False))
    assert outcome is not None and outcome.step == flat["length.steps"]
    return outcome


def lesson(data: Path, flat: dict, rates: tuple[str, ...], prompts: dict[str, list[str]], plain: str) -> Lesson:
    """Trains with `rates` at 0 and then as they are in `flat`; draws `prompts`, by kind, after each run."""
    host = EmbeddedHost(data, device="cpu")
    before, weights = pictures(host, [plain]), weights_of(host)
    metrics, drawn = {}, {}
    for run, changes in (("control", {"length.steps": CONTROL_STEPS} | dict.fromkeys(rates, 0.0)), ("taught", {})):
        metrics[run] = train(host, {**flat, **changes}).metrics
        drawn |= {f"{run} {kind}": pictures(host, asked) for kind, asked in prompts.items()}
    return Lesson(host, metrics, drawn, (before, pictures(host, [plain])), (weights, weights_of(host)))


def filled(scenes: tuple[str, ...], word: str, tag: str = "") -> list[str]:
    return [f"{tag}{scene.replace('WORD', word)}" for scene in scenes]


def heart_lead(picture: np.ndarray) -> float:
    """Overlap (0..1) of what is drawn with a heart, less that with the most similar other shape."""
    found = overlaps(segment(picture)[0])
    heart = found.pop("heart")
    return heart - max(found.values())


def leads(drawn: list[np.ndarray]) -> np.ndarray:
    return np.array([heart_lead(picture) for picture in drawn])


def from_teal(drawn: list[np.ndarray]) -> np.ndarray:
    """(N,) RGB distance of each shape's colour from teal."""
    return np.array([distance(judge(picture).rgb, HELD_OUT_COLOURS["teal"]) for picture in drawn])


@pytest.fixture(scope="module")
def hearts(tmp_path_factory) -> Lesson:
    prompts = {"shape": filled(COLOURED, "heartix", "<lora:hearts:1> ")}
    plain = filled(COLOURED, "heartix")[0]
    return lesson(tmp_path_factory.mktemp("hearts"), HEARTS, ("targets.learning_rate",), prompts, plain)


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Lesson:
    """Pivotal tuning by the run file that ships. With a weight of 0 the file gives its embedding alone."""
    run_file = DEMO / "valentix.yaml"
    flat = read_run_file(run_file)
    flat |= {"dataset.folder": str(run_file.parent / flat["dataset.folder"])}
    prompts = {"both": filled(TEALISH, "valentix", "<lora:valentix:1> "),
               "words": filled(TEALISH, "valentix", "<lora:valentix:0> "),
               "circles": filled(TEALISH, "circle", "<lora:valentix:0> ")}
    return lesson(tmp_path_factory.mktemp("both"), flat, ("targets.learning_rate", "optimizer.learning_rate"), prompts,
                  filled(TEALISH, "valentix")[0])


@pytest.mark.slow
def test_a_lora_learns_a_shape_that_the_checkpoint_cannot_draw(hearts):
    found = {run: leads(hearts.pictures[f"{run} shape"]) for run in ("control", "taught")}
    print({run: np.round(values, 2).tolist() for run, values in found.items()})
    assert np.median(found["taught"]) > np.median(found["control"]) + 0.25
    assert (found["taught"] > found["control"] + 0.1).all()
    assert (found["taught"] > 0).sum() >= 4 and not (found["control"] > 0).any()


@pytest.mark.slow
def test_what_the_lora_was_not_shown_to_change_stays_as_prompted(hearts):
    assert {judge(picture).colour for picture in hearts.pictures["control shape"]} == {colour for colour, _ in PAIRS}
    wrong = [judge(picture).colour for picture, (colour, _) in zip(hearts.pictures["taught shape"], PAIRS, strict=True)
             if judge(picture).colour != colour]
    assert len(wrong) <= 2, wrong


@pytest.mark.slow
def test_with_a_rate_of_zero_the_tag_changes_no_bit(hearts):
    np.testing.assert_array_equal(hearts.pictures["control shape"][0], hearts.plain[0][0])


@pytest.mark.parametrize("taught", [HEARTS_ALONE, "both"])
def test_the_denoising_error_falls_only_where_something_is_learned(request, taught):
    metrics = request.getfixturevalue(taught).metrics
    print(metrics)
    assert metrics["taught"]["error_after"] < 0.5 * metrics["taught"]["error_before"]
    assert metrics["control"]["error_after"] == metrics["control"]["error_before"] == metrics["taught"]["error_before"]


@pytest.mark.parametrize("taught", [HEARTS_ALONE, "both"])
def test_without_the_tag_the_checkpoint_draws_and_weighs_as_before(request, taught):
    found = request.getfixturevalue(taught)
    np.testing.assert_array_equal(found.plain[0], found.plain[1])
    assert found.weights[0] == found.weights[1]


@pytest.mark.parametrize(("taught", "kind"), [pytest.param("hearts", "shape", marks=pytest.mark.slow), ("both", "both")])
def test_the_next_prompt_uses_a_file_retrained_under_its_name(request, taught, kind):
    drawn = request.getfixturevalue(taught).pictures
    moved = [np.abs(older.astype(int) - newer).mean()
             for older, newer in zip(drawn[f"control {kind}"], drawn[f"taught {kind}"], strict=True)]
    print(np.round(moved, 1).tolist())
    assert min(moved) > 1  # of 255


def test_pivotal_tuning_learns_the_colour_and_the_shape(both):
    colours = {run: from_teal(both.pictures[f"{run} both"]) for run in ("control", "taught")}
    shapes = {run: leads(both.pictures[f"{run} both"]) for run in ("control", "taught")}
    print({f"{run} {name}": np.round(values[run], 2).tolist() for name, values in (("from teal", colours), ("heart", shapes))
           for run in values})
    assert np.median(colours["taught"]) < np.median(colours["control"]) - 45  # green to teal is about 95
    assert np.median(colours["taught"]) < 45
    assert np.median(shapes["taught"]) > np.median(shapes["control"]) + 0.2
    assert (shapes["taught"] > 0).sum() >= 4 and not (shapes["control"] > 0).any()


def test_the_embedding_carries_the_colour_and_the_network_the_shape(both):
    words, whole = both.pictures["taught words"], both.pictures["taught both"]
    circles = {run: from_teal(both.pictures[f"{run} circles"]) for run in ("control", "taught")}
    print({"words": np.round(leads(words), 2).tolist()} | {run: np.round(values).tolist() for run, values in circles.items()})
    assert np.median(circles["taught"]) < np.median(circles["control"]) - 45
    assert {judge(picture).shape for picture in both.pictures["taught circles"]} == {"circle"}
    assert np.median(leads(whole)) > np.median(leads(words)) + 0.15


def test_one_file_holds_the_network_and_the_embedding(both):
    folders = both.host.folders()
    assert [path.name for path in folders.embeddings.iterdir()] == []
    with safe_open(str(folders.loras / "valentix.safetensors"), "pt") as file:
        names = set(file.keys())
    assert {name for name in names if not name.startswith("lora_unet_")} == {"bundle_emb.tealish.string_to_param.*"}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_moves_towards_the_shape(tmp_path, method):
    """Prints a row of the README's table: error before and after, hearts of 8, median lead, CPU time, size of the file.

    IA3, a few numbers a layer, draws no heart.
    """
    host, started = EmbeddedHost(tmp_path, device="cpu"), time.process_time()
    outcome = train(host, {**HEARTS, **METHODS[method]})
    seconds = time.process_time() - started
    found = leads(pictures(host, filled(COLOURED, "heartix", "<lora:hearts:1> "), steps=12))
    size = (host.folders().loras / "hearts.safetensors").stat().st_size
    print(f"\n| {method} | {outcome.metrics['error_before']:.3f} | {outcome.metrics['error_after']:.3f} | "
          f"{(found > 0).sum()} of 8 | {np.median(found):+.2f} | {seconds:.0f} s | {size / 1024:.0f} KiB |")
    assert np.median(found) > (-0.2 if method == "IA3" else -0.15)  # without a network it is -0.3
