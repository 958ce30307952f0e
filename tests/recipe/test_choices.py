"""Every optimizer, schedule, loss, noise and way to draw timesteps, in pivotal tuning on the shipped checkpoint.

Each run is measured before and after at the same noise, and has to beat the control, which has rates of 0. Whoever runs
this with -s gets the table.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from pivotal.config.files import read_run_file
from pivotal.config.optimizers import EIGHT_BIT, FINDS_ITS_RATE, USUAL
from pivotal.config.sections.pace import ScheduleKind
from pivotal.events import StepDone
from pivotal.hosts.embedded.host import EmbeddedHost
from pivotal.jobs.checks.plan import make_plan
from pivotal.jobs.control import Control
from pivotal.jobs.desk import work_through

pytestmark = pytest.mark.slow
DEMO = Path(__file__).resolve().parents[2] / "extension" / "assets" / "demo"
STEPS = 30
# Times AdamW's rates: 0.02 for the embedding, 0.004 for the network. Not searched for, but by orders of magnitude.
TIMES = {"lion": 0.2, "tiger": 0.2, "came": 0.1, "rmsprop": 0.1, "lamb": 0.1, "sgd": 100, "schedule-free sgd": 200}
# Those that find their rate begin at a millionth of it, which is the run of a real model and not of thirty steps.
BEGIN = dict.fromkeys(FINDS_ITS_RATE, 3e-3) | {"prodigy": 1e-4, "dadapt adam": 1e-4, "dadapt sgd": 1e-3}
OPTIMIZERS = {kind: {"optimizer.kind": kind} for kind in USUAL if kind not in (*EIGHT_BIT, "other")}
for kind in ("prodigy", "dadapt adam"):  # unbridled, their estimate overshoots in so few steps of four images
    OPTIMIZERS[kind]["optimizer.growth_limit"] = 1.1
SCHEDULES = {kind: {"schedule.kind": kind, "schedule.warmup": 0.1} for kind in ScheduleKind.__args__}
SCHEDULES["rate list"] |= {"schedule.rates": "0.01:20, 0.005", "schedule.warmup": 0}
SCHEDULES["points"] |= {"schedule.points": "0:0.5, 50%:1, 100%:0"}
SCHEDULES["formula"] |= {"schedule.formula": "0.5 * (1 + cos(pi * p))"}
LOSSES = {kind: {"loss.kind": kind} for kind in ("l1", "huber", "smooth l1", "exact huber", "log-cosh")} | {
    "mse 0.7, l1 0.3": {"loss.mix": "mse 0.7, l1 0.3"},
    "min-snr": {"loss.weighting": "min-snr"}, "debiased": {"loss.weighting": "debiased"},
    "p2": {"loss.weighting": "p2", "loss.gamma": 1.0}, "by timestep": {"loss.by_timestep": "0:1, 500:0.5, 1000:1"},
    "as for v": {"loss.v_like": 0.5}}
NOISES = {"offset": {"noise.offset": 0.05}, "random offset": {"noise.offset": 0.05, "noise.offset_random": True},
          "generalized offset": {"noise.offset": 0.05, "noise.offset_by_timestep": True},
          "adaptive offset": {"noise.offset": 0.05, "noise.adaptive_scale": 0.05},
          "multires": {"noise.multires_iterations": 3}, "perturbation": {"noise.perturbation": 0.05},
          "input perturbation": {"noise.input_perturbation": 0.1}}
TIMESTEPS = {kind: {"timesteps.distribution": kind} for kind in (
    "logit normal", "sigmoid", "heavy tail", "cos map", "inverted parabola", "beta")} | {
    "shift 2": {"timesteps.shift": 2.0}, "100 to 900": {"timesteps.minimum": 100, "timesteps.maximum": 900}}
LOOP = {"EMA": {"optimizer.ema_decay": 0.9}, "accumulation 2": {"batch.accumulation": 2, "batch.size": 2},
        "clipping": {"optimizer.clip_norm": 0.1}, "posterior's mean": {"cache.sampling": "mean"},
        "flips": {"augment.flip": 0.5}, "gradient checkpointing": {"precision.gradient_checkpointing": True},
        "bf16 weights": {"precision.weights": "bf16"}, "math attention": {"performance.attention": "math"},
        "average on the CPU": {"optimizer.ema_half_life": 8, "performance.averages_on_cpu": True},
        "bf16, or fp32 after a bad step": {"precision.compute": "bf16", "guard.bad_step": "precise"},
        "embeddings first": {"pivot.order": "embeddings first", "pivot.at": 0.4}}
CHOICES = {f"{group}: {name}": flat for group, found in (
    ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("loss", LOSSES), ("noise", NOISES), ("timesteps", TIMESTEPS),
    ("loop", LOOP)) for name, flat in found.items()}


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return EmbeddedHost(tmp_path_factory.mktemp("choices"), device="cpu")


@pytest.fixture(scope="module")
def table():
    """Prints what was measured."""
    rows: dict[str, tuple[float, float]] = {}
    yield rows
    for name, (before, after) in sorted(rows.items(), key=lambda row: (row[0].partition(":")[0], row[1][1])):
        print(f"{name:34} {before:.4f} -> {after:.4f}")


def error_of(host, table, name, changes, times=1.0):
    flat = read_run_file(DEMO / "valentix.yaml") | {
        "name": "choices", "checkpoint": "toy", "dataset.folder": str(DEMO / "valentix"), "length.steps": STEPS, "batch.size": 4,
        "schedule.kind": "constant", "samples.every_steps": 0, "save.state_every_steps": 0, "save.existing": "replace",
        "measure.images": 12, "optimizer.learning_rate": 0.02 * times, "targets.learning_rate": 0.004 * times} | changes
    events: list = []
    outcome = work_through(make_plan(flat, host), host, events.append, Control(patient=False))
    assert outcome is not None, events[-1]
    assert all(math.isfinite(event.loss) for event in events if isinstance(event, StepDone))
    table[name] = (outcome.metrics["error_before"], outcome.metrics["error_after"])
    return table[name]


def test_the_control_stays_as_it_is(host, table):
    before, after = error_of(host, table, "control", {}, times=0)
    assert before == after


@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_beats_the_control(host, table, name):
    changes, kind = CHOICES[name], CHOICES[name].get("optimizer.kind", "adamw")
    if kind in FINDS_ITS_RATE:
        changes = changes | {"optimizer.learning_rate": 1.0, "targets.learning_rate": 1.0,
                             "optimizer.first_estimate": BEGIN[kind]}
    before, after = error_of(host, table, name, changes, TIMES.get(kind, 1.0))
    assert after < 0.9 * before
