"""Whole runs that train a network, alone or with embeddings, on tiny checkpoints of every family."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from fake_host import FakeHost, write_dataset
from pivotal.events import Finished, Noticed, Saved, StepDone
from pivotal.formats.network_delta import kind_of
from pivotal.formats.network_file import read_network
from pivotal.jobs import trainees
from runs import carry_out, fingerprint, mostly_once

NETWORK = {"network.method": "lora", "network.rank": 4, "network.alpha": 4, "targets.learning_rate": 0.01}
RATES = {"oft": 3e-3, "boft": 3e-3, "full": 1e-3, "loha": 0.03, "ia3": 0.05, "dylora": 3e-3}
METHODS = ("lora", "loha", "lokr", "dylora", "oft", "boft", "ia3", "glora", "full")
FAMILIES = ("sd1", "sd2", "sdxl")
SOME = {"lora": [], "lokr": [pytest.mark.once], "oft": [pytest.mark.once]}  # of methods that cost much; all with --full
SOME_METHODS = [pytest.param(method, marks=SOME.get(method, [pytest.mark.slow])) for method in METHODS]


def run(host, folder, *, embeddings=False, **changes):
    how = {key: changes.pop(key) for key in ("resume", "stop_after") if key in changes}
    options = NETWORK | {key.replace("__", "."): value for key, value in changes.items()}
    return carry_out(host, folder, alone=not embeddings, **how, **options)


def metadata_of(path):
    with safe_open(str(path), "pt") as file:
        return file.metadata()


@pytest.fixture
def images(tmp_path):
    return write_dataset(tmp_path / "images")


@pytest.mark.parametrize(("method", "family"), [
    pytest.param(method, family, marks=SOME.get(method, [pytest.mark.once if family == "sd1" else pytest.mark.slow]))
    for method in METHODS for family in FAMILIES])
def test_every_method_learns_on_every_family_and_leaves_no_trace(tmp_path, images, method, family):
    host = FakeHost(tmp_path, family)
    before = fingerprint(host)
    rate = RATES.get(method, 0.01)
    outcome, events = run(host, images, network__method=method, targets__learning_rate=rate, length__steps=10,
                          measure__images=2, targets__text_encoder_1=True, targets__text_encoder_2=family == "sdxl",
                          network__conv_rank=4, network__conv_alpha=4, targets__text_encoder_1_rate=rate / 2,
                          targets__text_encoder_2_rate=rate / 2, save__precision="fp32")
    assert isinstance(events[-1], Finished), events[-1]
    assert fingerprint(host) == before
    path = tmp_path / "models" / "Lora" / "run.safetensors"
    assert path in events[-1].files and path in host.refreshed
    assert outcome.metrics["error_after"] < 0.98 * outcome.metrics["error_before"]
    written = read_network(path)
    assert {kind_of(parts) for parts in written.layers.values()} == {"lora" if method == "dylora" else method}
    parts = {key.split("_")[1] for key in written.layers}
    assert parts == {"unet", "te1", "te2"} if family == "sdxl" else {"unet", "te"}
    assert family != "sdxl" or not any("down_blocks" in key for key in written.layers)  # the original code's blocks


@pytest.mark.parametrize("method", mostly_once(["lora", "loha", "lokr"]))
def test_dora_and_norm_layers_are_trained_with_their_switches(tmp_path, images, method):
    outcome, _ = run(FakeHost(tmp_path), images, network__method=method, network__dora=True, network__train_norms=True,
                     save__precision="fp32", measure__images=2)
    layers = read_network(tmp_path / "models" / "Lora" / "run.safetensors").layers
    kinds = [kind_of(parts) for parts in layers.values()]
    assert set(kinds) == {method, "norm"} and kinds.count("norm") > 10
    assert all("dora_scale" in parts for parts in layers.values() if kind_of(parts) == method)
    assert outcome.metrics["error_after"] < 0.98 * outcome.metrics["error_before"]


def test_with_a_rate_of_zero_the_network_does_nothing(tmp_path, images):
    outcome, _ = run(FakeHost(tmp_path), images, targets__learning_rate=0, measure__images=2)
    assert outcome.metrics["error_after"] == outcome.metrics["error_before"]
    layers = read_network(tmp_path / "models" / "Lora" / "run.safetensors").layers
    assert all(not parts["lora_up.weight"].any() for parts in layers.values()) and len(layers) == 48


@pytest.mark.parametrize("order", ["together", "embeddings first", "network first"])
def test_pivotal_tuning_trains_both_in_the_order_asked_for(tmp_path, images, order):
    outcome, events = run(FakeHost(tmp_path), images, embeddings=True, pivot__order=order, pivot__at=0.25,
                          measure__images=2)
    rates = [event.rates for event in events if isinstance(event, StepDone)]
    words, unet = ([bool(rate[name]) for rate in rates] for name in ("zkteal", "unet"))
    early, late = [True] * 2 + [False] * 6, [False] * 2 + [True] * 6
    assert (words, unet) == {"together": ([True] * 8, [True] * 8), "embeddings first": (early, late),
                             "network first": (late, early)}[order]
    assert outcome.metrics["error_after"] < outcome.metrics["error_before"]


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize("count", mostly_once([3, 1, 20]))
def test_bundles_carry_every_word(tmp_path, family, count):
    words = [f"zkword{'abcdefghijklmnopqrst'[index]}q" for index in range(count)]
    images = write_dataset(tmp_path / "images")
    for path in images.glob("*.txt"):
        path.write_text(" ".join(words), encoding="utf-8")
    rows = {f"embeddings__{index}__placeholder": word for index, word in enumerate(words)}
    host = FakeHost(tmp_path, family)
    _, events = run(host, images, embeddings=True, length__steps=2, **rows)
    path = tmp_path / "models" / "Lora" / "run.safetensors"
    assert events[-1].files == (path,) and not list((tmp_path / "embeddings").glob("*"))
    assert [event.prompt for event in events if isinstance(event, Saved) and event.kind == "network"] == [
        " ".join(["<lora:run:1>", *words])]
    bundled = read_network(path).embeddings
    assert sorted(bundled) == sorted(words)
    assert all([tensor.shape[1] for tensor in bundled[word]] == list(host.model.widths) for word in words)
    keys = [key for key in load_file(path) if key.startswith("bundle_emb.")]
    ends = {"clip_l", "clip_g"} if family == "sdxl" else {"string_to_param.*"}
    assert set(keys) == {f"bundle_emb.{word}.{end}" for word in words for end in ends}
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["activation text"] == ", ".join(words)
    assert card["sd version"] == {"sd1": "SD1", "sd2": "SD2", "sdxl": "SDXL"}[family]


def test_a_host_that_reads_no_bundles_gets_the_words_as_files_too(tmp_path, images):
    _, events = run(FakeHost(tmp_path, reads_bundles=False), images, embeddings=True)
    own = tmp_path / "embeddings" / "zkteal.safetensors"
    assert own in events[-1].files and own.exists()
    bundled = read_network(tmp_path / "models" / "Lora" / "run.safetensors").embeddings["zkteal"]
    assert torch.equal(load_file(own)["emb_params"], bundled[0])
    assert any("does not read bundled" in event.text for event in events if isinstance(event, Noticed))


def test_a_file_that_outranks_the_bundled_word_is_renewed_and_the_older_one_kept(tmp_path, images):
    carry_out(FakeHost(tmp_path), images)
    own = tmp_path / "embeddings" / "zkteal.safetensors"
    older = own.read_bytes()
    _, events = run(FakeHost(tmp_path), images, embeddings=True)
    bundled = read_network(tmp_path / "models" / "Lora" / "run.safetensors").embeddings["zkteal"]
    assert torch.equal(load_file(own)["emb_params"], bundled[0])
    assert [path.read_bytes() for path in (tmp_path / "pivotal" / "runs" / "run" / "replaced").glob("zkteal*")] == [older]
    assert any("there already" in event.text for event in events if isinstance(event, Noticed))


def test_without_bundling_the_words_lie_in_a_folder_beside_every_save(tmp_path, images):
    run(FakeHost(tmp_path), images, embeddings=True, save__bundle=False, save__every_steps=4)
    loras = tmp_path / "models" / "Lora"
    found = sorted(path.relative_to(loras).as_posix() for path in loras.rglob("*.safetensors"))
    assert found == ["run-000004.safetensors", "run-000004_embeddings/zkteal.safetensors", "run.safetensors",
                     "run_embeddings/zkteal.safetensors"]
    assert not read_network(loras / "run.safetensors").embeddings
    assert (tmp_path / "embeddings" / "zkteal.safetensors").exists()  # for the next prompt


def test_the_file_says_what_cards_read_and_nothing_of_this_machine(tmp_path, images):
    host = FakeHost(tmp_path, "sd2")
    run(host, images, embeddings=True, name="Secret place", samples__every_steps=8, samples__steps=2)
    path = tmp_path / "models" / "Lora" / "Secret place.safetensors"
    said = metadata_of(path)
    assert said["ss_output_name"] == "Secret place" and said["ss_v2"] == "True" and said["ss_base_model_version"] == "sd_v2_v"
    assert said["ss_network_module"] == "networks.lora" and said["ss_network_dim"] == "4" and said["ss_network_alpha"] == "4.0"
    assert json.loads(said["ss_tag_frequency"])["dataset"]["a zkteal circle number 3"] == 1
    assert said["ss_sd_model_name"] == "tiny"
    assert len(said["sshs_model_hash"]) == 64 and said["pivotal.network.method"] == "lora"
    assert not [key for key, text in said.items() if str(tmp_path) in text or "/" in text and "images" in text.split("/")]
    assert not [key for key in said if key.endswith("folder") or "started_at" in key or "base_file" in key]
    assert path.with_suffix(".preview.png").read_bytes()[:4] == b"\x89PNG"


def test_the_same_run_gives_the_same_file_and_another_seed_another(tmp_path, images):
    files = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.manual_seed(len(files))
        run(FakeHost(tmp_path / name), images, embeddings=True, seed=seed)
        files.append((tmp_path / name / "models" / "Lora" / "run.safetensors").read_bytes())
    assert files[0] == files[1] != files[2]


@pytest.mark.parametrize("changes", mostly_once([
    {"network__dropout": 0.2, "network__rank_dropout": 0.2, "network__module_dropout": 0.2, "batch__accumulation": 2},
    {"network__method": "dylora", "network__unit": 2, "pivot__order": "embeddings first", "pivot__at": 2},
    {"optimizer__kind": "prodigy", "optimizer__learning_rate": 1, "targets__learning_rate": 1, "optimizer__growth_limit": 2},
    {"optimizer__kind": "dadapt adam", "optimizer__learning_rate": 1, "targets__learning_rate": 1},
    {"optimizer__ema_decay": 0.9, "embeddings__0__preserve_norm": True},
    {"schedule__kind": "rex", "schedule__warmup": 2, "network__plus_ratio": 4, "network__norm_limit": 0.5,
     "blocks__weights": "cosine+0.1"}]))
def test_a_run_that_was_stopped_and_resumed_ends_as_one_that_was_not(tmp_path, images, changes):
    run(FakeHost(tmp_path / "whole"), images, embeddings=True, **changes)
    outcome, _ = run(FakeHost(tmp_path / "parts"), images, embeddings=True, stop_after=3, **changes)
    assert outcome.stopped and outcome.step == 3
    run(FakeHost(tmp_path / "parts"), images, embeddings=True, resume=True, **changes)
    whole, parts = (tmp_path / name / "models" / "Lora" / "run.safetensors" for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()


def test_dropout_changes_the_result_and_only_while_learning(tmp_path, images):
    results = {}
    for share in (0.0, 0.5):
        outcome, _ = run(FakeHost(tmp_path / str(share)), images, network__dropout=share, measure__images=2)
        results[share] = outcome.metrics
    assert results[0.0]["error_before"] == results[0.5]["error_before"]
    assert results[0.0]["error_after"] != results[0.5]["error_after"]


def test_each_part_has_an_estimate_of_its_own_under_prodigy(tmp_path, images):
    _, events = run(FakeHost(tmp_path), images, embeddings=True, length__steps=12, optimizer__kind="prodigy",
                    optimizer__learning_rate=1, targets__learning_rate=1)
    last = [event.rates for event in events if isinstance(event, StepDone)][-1]
    assert last["zkteal"] != last["unet"] and min(last.values()) > 1e-6  # both have left their first estimate


def test_text_encoders_stop_on_their_own(tmp_path, images):
    _, events = run(FakeHost(tmp_path), images, targets__text_encoder_1=True, targets__text_encoder_stop_after=25,
                    targets__text_encoder_stop_unit="percent")
    rates = [event.rates for event in events if isinstance(event, StepDone)]
    assert [bool(rate["te1"]) for rate in rates] == [True] * 2 + [False] * 6
    assert all(rate["unet"] for rate in rates)


def test_weight_decay_leaves_embeddings_alone_unless_asked(tmp_path, images):
    found = []
    for name, changes in (("off", {}), ("plain", {"optimizer__weight_decay": 0}), ("on", {"optimizer__decay_embeddings": True})):
        run(FakeHost(tmp_path / name), images, embeddings=True, **{"targets__learning_rate": 0, "optimizer__weight_decay": 0.5}
            | changes)
        found.append(read_network(tmp_path / name / "models" / "Lora" / "run.safetensors").embeddings["zkteal"][0])
    assert torch.equal(found[0], found[1]) and found[2].norm() < 0.95 * found[0].norm()


def test_a_gap_in_which_nothing_learns_is_bridged(tmp_path, images):
    _, events = run(FakeHost(tmp_path), images, embeddings=True, pivot__order="embeddings first", pivot__at=4,
                    embeddings__0__stop_after=2, embeddings__0__stop_unit="steps")
    rates = [event.rates for event in events if isinstance(event, StepDone)]
    assert [any(rate.values()) for rate in rates] == [True, True, False, False, True, True, True, True]


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_an_inpainting_checkpoint_learns_with_its_masks(tmp_path, images, family):
    host = FakeHost(tmp_path, family, inputs=9)
    before = fingerprint(host)
    outcome, events = run(host, images, embeddings=True, length__steps=10, samples__every_steps=10, samples__steps=2,
                          measure__images=2)
    assert isinstance(events[-1], Finished), events[-1]
    assert fingerprint(host) == before
    assert outcome.metrics["error_after"] < 0.98 * outcome.metrics["error_before"]
    # A mask file has a say: with everything masked the UNet is told less, and the run ends elsewhere.
    Image.new("L", (64, 64), 255).save(images / "00-masklabel.png")
    run(FakeHost(tmp_path / "masked", family, inputs=9), images, embeddings=True, length__steps=10)
    files = [folder / "models" / "Lora" / "run.safetensors" for folder in (tmp_path, tmp_path / "masked")]
    assert files[0].read_bytes() != files[1].read_bytes()


@pytest.mark.parametrize("changes", mostly_once([
    {"network__dropout": 0.3, "network__module_dropout": 0.3}, {"network__method": "loha"}, {"network__dora": True},
    {"network__method": "dylora", "network__unit": 2}]))
def test_computing_twice_to_save_memory_learns_the_same(tmp_path, images, changes):
    found = {}
    for twice in (False, True):
        run(FakeHost(tmp_path / str(twice)), images, targets__text_encoder_1=True, save__precision="fp32",
            precision__gradient_checkpointing=twice, length__steps=3, **changes)
        found[twice] = read_network(tmp_path / str(twice) / "models" / "Lora" / "run.safetensors").layers
    for key, parts in found[False].items():
        for name, tensor in parts.items():
            torch.testing.assert_close(found[True][key][name], tensor, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", SOME_METHODS)
def test_networks_learn_under_autocast(tmp_path, images, method):
    rate = RATES.get(method, 0.01)
    outcome, events = run(FakeHost(tmp_path), images, network__method=method, precision__compute="bf16", length__steps=10,
                          measure__images=2, network__conv_rank=4, targets__learning_rate=rate, targets__text_encoder_1=True)
    assert isinstance(events[-1], Finished), events[-1]
    assert outcome.metrics["error_after"] < 0.99 * outcome.metrics["error_before"]


@pytest.mark.parametrize("method", SOME_METHODS)
def test_networks_learn_on_a_hosts_half_precision_weights(tmp_path, images, method):
    """As a host in bf16 without autocast: what is trained is fp32 all the same."""
    rate = RATES.get(method, 0.01)
    host = FakeHost(tmp_path, "sdxl", dtype=torch.bfloat16)
    before = fingerprint(host)
    outcome, events = run(host, images, embeddings=True, network__method=method, length__steps=10, measure__images=2,
                          targets__learning_rate=rate, targets__text_encoder_2=True, save__precision="fp32")
    assert isinstance(events[-1], Finished), events[-1]
    assert fingerprint(host) == before
    assert outcome.metrics["error_after"] < 0.99 * outcome.metrics["error_before"]
    assert all(tensor.dtype == torch.float32 for tensor in load_file(tmp_path / "models" / "Lora" / "run.safetensors").values())


def test_a_host_that_takes_the_model_away_ends_the_run_with_what_it_had(tmp_path, images):
    host = FakeHost(tmp_path)
    host.change = lambda step: "The host loaded another checkpoint." if step == 3 else None
    outcome, events = run(host, images, embeddings=True)
    assert outcome.stopped and outcome.step == 3
    assert any("another checkpoint. The run ends here" in event.text for event in events if isinstance(event, Noticed))
    run(FakeHost(tmp_path / "whole"), images, embeddings=True, length__steps=3)
    files = [folder / "models" / "Lora" / "run.safetensors" for folder in (tmp_path, tmp_path / "whole")]
    layers = [read_network(file).layers for file in files]
    assert all(torch.equal(parts[name], layers[1][key][name]) for key, parts in layers[0].items() for name in parts)


def test_prompts_let_through_see_the_hosts_model_and_change_nothing(tmp_path, images):
    host, seen = FakeHost(tmp_path), []
    host.while_let = lambda: seen.append([name for name, module in host.model.unet.named_modules()
                                          if "forward" in vars(module)])
    run(host, images, sharing__let_prompts_through=True)
    run(FakeHost(tmp_path / "alone"), images)
    assert host.let == 8 and not any(seen)
    files = [read_network(folder / "models" / "Lora" / "run.safetensors").layers for folder in (tmp_path, tmp_path / "alone")]
    assert all(torch.equal(parts[name], files[1][key][name]) for key, parts in files[0].items() for name in parts)


def test_values_that_fp16_cannot_hold_cost_no_learning(tmp_path, images, monkeypatch):
    """The run ends in a sentence, its state is kept, and resuming it in another format writes the file."""
    host = FakeHost(tmp_path)
    make = trainees.make_networks

    def large(config, base, model):
        networks = make(config, base, model)
        next(iter(networks[0].adapters.values())).down.data += 1e5
        return networks

    monkeypatch.setattr(trainees, "make_networks", large)
    changes = {"save__every_steps": 4, "targets__learning_rate": 1e-6}
    outcome, events = run(host, images, **changes)
    path = tmp_path / "models" / "Lora" / "run.safetensors"
    assert outcome is None and "bf16 or fp32" in events[-1].message and not path.exists()
    assert any(event.text.startswith("No copy of step 4") for event in events if isinstance(event, Noticed))
    _, events = run(host, images, resume=True, save__precision="fp32", **changes)
    assert isinstance(events[-1], Finished) and path.exists()


CHOICES = [{"loss__kind": kind} for kind in ("l1", "huber", "smooth l1", "log-cosh")] + [
    {"loss__weighting": weighting} for weighting in ("min-snr", "debiased", "p2")] + [
    {"noise__offset": 0.1, "noise__offset_random": True, "noise__adaptive_scale": 0.1},
    {"noise__multires_iterations": 6}, {"noise__input_perturbation": 0.1},
    {"timesteps__minimum": 100, "timesteps__maximum": 900, "timesteps__distribution": "logit normal"},
    {"objective__prediction": "v", "objective__zero_terminal_snr": "on", "loss__weighting": "min-snr"}]


DRAWS = {"noise", "timesteps"}  # what takes numbers from a generator, so that a resumed run could miss some


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """What ten steps without any of the choices give."""
    place = tmp_path_factory.mktemp("plain")
    run(FakeHost(place), write_dataset(place / "images"), length__steps=10)
    return load_file(place / "models" / "Lora" / "run.safetensors")


@pytest.mark.parametrize("changes", mostly_once(CHOICES), ids=lambda changes: " ".join(f"{v}" for v in changes.values()))
def test_every_choice_of_loss_noise_and_timesteps_learns_and_its_draws_resume_to_the_byte(tmp_path, images, plain, changes):
    changes = changes | {"length__steps": 10, "measure__images": 2}
    outcome, _ = run(FakeHost(tmp_path / "whole"), images, **changes)
    assert outcome.metrics["error_after"] < 0.98 * outcome.metrics["error_before"]
    whole, parts = (tmp_path / name / "models" / "Lora" / "run.safetensors" for name in ("whole", "parts"))
    if DRAWS & {key.partition("__")[0] for key in changes}:
        run(FakeHost(tmp_path / "parts"), images, stop_after=5, **changes)
        run(FakeHost(tmp_path / "parts"), images, resume=True, **changes)
        assert whole.read_bytes() == parts.read_bytes()
    key = "lora_unet_middle_block_1_proj_in.lora_up.weight"
    assert not torch.equal(load_file(whole)[key], plain[key])


def test_the_file_holds_the_averages_and_the_state_goes_on_from_the_last_values(tmp_path, images):
    run(FakeHost(tmp_path), images, optimizer__ema_decay=0.9, save__precision="fp32")
    state = load_file(tmp_path / "pivotal" / "runs" / "run" / "state.safetensors")
    layers = read_network(tmp_path / "models" / "Lora" / "run.safetensors").layers
    first = next(iter(layers.values()))
    assert torch.equal(first["lora_down.weight"], state["average.0.0"])
    last = next(value for key, value in state.items() if key.endswith(".down") and value.shape == state["average.0.0"].shape)
    assert not torch.equal(last, state["average.0.0"])
