"""Comparing the saves of whole runs: as the host's prompt box draws them, with nothing left behind; and keeping one."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import tiny
from fake_host import FakeHost, write_dataset
from pivotal.cli import main
from pivotal.errors import OptionError, PivotalError
from pivotal.formats.header import hashes_of, read_metadata
from pivotal.formats.network_file import model_hash
from pivotal.hosts.embedded.host import EmbeddedHost
from pivotal.hosts.embedded.txt2img import Txt2Img
from pivotal.jobs.comparison.plan import make_compare_plan
from pivotal.jobs.comparison.saves import host_files, recipe_of, run_names, run_saves
from pivotal.jobs.desk import Desk
from pivotal.models.generate import GenerateSettings
from runs import carry_out, fingerprint, mostly_once

NETWORK = {"network.method": "lora", "network.rank": 4, "network.alpha": 4, "targets.learning_rate": 0.02}
DRAWN = {"prompts": ["a zkteal circle"], "steps": 2, "cfg_scale": 3.0, "size": 64, "seeds": "7"}


def embedded(data, family):
    tiny.write_tiny(data / "models" / "Stable-diffusion" / f"{family}.safetensors", family)
    host = EmbeddedHost(data, device="cpu", toy=data / "no toy")
    host._tokenizer = tiny.tokenizer()
    host.preload()
    return host


def train(host, folder, *, network=True, **changes):
    """A run of three steps with a copy after the first and the second; returns its events."""
    options = (NETWORK if network else {}) | {"length.steps": 3, "save.every_steps": 1, "dataset.resolution": "64",
                                              "measure.images": 0, "batch.size": 1}
    outcome, events = carry_out(host, folder, **(options | changes))
    assert outcome is not None, events[-1]
    return events


def compare(desk, **asked):
    desk.comparisons.start(DRAWN | asked)
    return desk.comparisons.wait(300)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def lent(host):
    return SimpleNamespace(model=host._loaded.model) if isinstance(host, EmbeddedHost) else host


@pytest.fixture(scope="module", params=mostly_once(["sd1", "sdxl"]))
def trained(request, tmp_path_factory):
    """A host with the saves of a pivotal run and of an embedding run; nothing here changes them."""
    data = tmp_path_factory.mktemp(f"comparison-{request.param}")
    host = embedded(data / "host", request.param)
    images = write_dataset(data / "images", 3)
    train(host, images, name="pair", samples__prompts=["a zkteal circle --w 64 --h 64 --d 5 --s 2"], samples__every_steps=0)
    train(host, images, network=False, name="word", embeddings__0__placeholder="zkword",
          dataset__captions="object", embeddings__0__initial_text="green")
    return host


def test_the_saves_of_a_run_are_its_copies_and_its_result(trained):
    saves = run_saves(trained.folders(), recipe_of(trained.folders(), "pair"))
    assert [(save.label, save.step) for save in saves] == [("step 1", 1), ("step 2", 2), ("result (step 3)", 3)]
    assert saves[1].network.name == "pair-000002.safetensors"
    assert run_names(trained.folders()) == ["word", "pair"], "the latest first"


@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_a_cell_is_what_the_host_draws_for_the_tag(trained, strength):
    before = fingerprint(lent(trained))
    view = compare(Desk(trained), run="pair", strengths=f"{strength}")
    assert (view.state, view.done, view.of) == ("finished", 4, 4), view.message
    assert fingerprint(lent(trained)) == before
    settings = GenerateSettings(64, 64, steps=2, cfg_scale=3.0, seed=7)
    for save, line in zip(view.rows, view.images, strict=True):
        tag = f"<lora:{save.network.stem}:{strength:g}> " if save.network else ""
        drawn = trained.generate(Txt2Img(f"{tag}a zkteal circle", "", settings))
        assert np.abs(np.asarray(drawn.images[0]).astype(int) - pixels(line[0])).max() <= 1
        with Image.open(line[0]) as image:
            assert image.info["parameters"] == drawn.infotexts[0]
    base, first, _, result = (pixels(line[0]) for line in view.images)
    assert np.abs(base - first).max() > 1 and np.abs(first - result).max() > 1, "the saves look alike"


def test_an_embeddings_saves_take_its_word_in_turn(trained):
    view = compare(Desk(trained), run="word", prompts=["a zkword circle"], strengths="0.5, 1")
    assert [column.strength for column in view.columns] == [None], "an embedding has no strength"
    settings = GenerateSettings(64, 64, steps=2, cfg_scale=3.0, seed=7)
    (without,), *others = view.images
    assert view.rows[0].label == "without"
    assert all(np.abs(pixels(without) - pixels(path)).max() > 1 for (path,) in others), "drawn with the folder's file"
    for save, (path,) in zip(view.rows[1:], others, strict=True):
        word = save.embeddings["zkword"].stem  # in the folder each copy is a word of its own
        drawn = trained.generate(Txt2Img(f"a {word} circle", "", settings))
        assert np.abs(np.asarray(drawn.images[0]).astype(int) - pixels(path)).max() <= 1


def test_any_files_are_compared_each_with_its_words(trained):
    view = compare(Desk(trained), files=["pair-000002", str(trained.folders().embeddings / "zkword.safetensors")],
                   prompts=["a {word} circle"], strengths="0.5, 1")
    assert view.state == "finished", view.message
    assert [save.label for save in view.rows] == ["without", "pair-000002", "zkword"]
    with Image.open(view.images[1][0]) as image:
        assert image.info["parameters"].startswith("<lora:pair-000002:0.5> a zkteal circle\n")
    with Image.open(view.images[2][1]) as image:
        assert image.info["parameters"].startswith("a zkword circle\n")
    assert view.images[2][0] == view.images[2][1], "drawn once, as an embedding has no strength"
    assert view.of == view.done == 1 + 2 + 1


def test_the_runs_own_samples_are_drawn_unless_others_are_asked_for(trained):
    plan = make_compare_plan({"run": "pair"}, trained.folders())
    (column,) = plan.columns
    assert (column.prompt, column.seed, column.settings.steps, column.settings.width) == ("a zkteal circle", 5, 2, 64)
    asked = {"run": "pair", "prompts": ["a cat --n red", "a dog"], "seeds": [3, 4], "strengths": "0.5, 1", "steps": 9}
    columns = make_compare_plan(asked | {"seeds": "3, 4"}, trained.folders()).columns
    assert [(column.prompt, column.seed, column.strength) for column in columns] == [
        (prompt, seed, strength) for prompt in ("a cat", "a dog") for seed in (3, 4) for strength in (0.5, 1.0)]
    assert [column.negative for column in columns[::4]] == ["red", ""]


def test_a_tag_of_what_is_compared_makes_way_for_the_rows_own(trained):
    tagged = compare(Desk(trained), run="pair", prompts=["<lora:pair:1> a zkteal circle"], base=False)
    plain = compare(Desk(trained), run="pair", base=False)
    for one, other in zip(tagged.images, plain.images, strict=True):
        assert (pixels(one[0]) == pixels(other[0])).all()


@pytest.mark.parametrize(("asked", "key", "words"), [
    ({}, "files", "needs a run or files"),
    ({"run": "nobody"}, "run", "no run 'nobody'"),
    ({"run": "../pair"}, "run", "no run"),
    ({"files": ["../../../etc/passwd.safetensors"]}, "files", "no LoRA and no embedding"),
    ({"files": ["/etc/hosts"]}, "files", "no LoRA and no embedding"),
    ({"run": "pair", "strengths": "1, strong"}, "strengths", "'strong'"),
    ({"run": "pair", "strengths": "nan"}, "strengths", "from -10 to 10"),
    ({"run": "pair", "seeds": "-1"}, "seeds", "from 0"),
    ({"run": "pair", "size": 100}, "size", "multiple of 8; 96"),
    ({"run": "pair", "prompts": [f"a cat {number}" for number in range(101)]}, "prompts", "404 images"),
    ({"run": "pair", "promts": "a"}, "promts", "did you mean prompts"),
])
def test_what_cannot_be_compared_is_told_under_its_key(trained, asked, key, words):
    with pytest.raises(OptionError) as caught:
        make_compare_plan(asked, trained.folders())
    assert words in caught.value.problems[key]


def test_a_file_that_cannot_be_used_is_left_out_in_words(trained):
    vectors = torch.zeros(1, 999)
    path = trained.folders().embeddings / "other.safetensors"
    names = ["clip_l", "clip_g"] if len(trained.described().widths) == 2 else ["emb_params"]
    save_file({name: vectors.clone() for name in names}, path)
    (trained.folders().loras / "broken.safetensors").write_bytes(b"no network")
    view = compare(Desk(trained), files=["other", "broken", "zkword"], base=False)
    alone = compare(Desk(trained), files=["other"], base=False)
    path.unlink()
    (trained.folders().loras / "broken.safetensors").unlink()
    assert (view.state, view.done, view.of) == ("finished", 1, 1), "the good one is drawn"
    assert "other is left out. other.safetensors does not fit this checkpoint" in view.notices[0]
    assert view.notices[1].startswith("broken is left out. broken.safetensors")
    assert [line[0] is not None for line in view.images] == [False, False, True]
    assert (alone.state, alone.message) == ("failed", "None of the files could be used.")


# What changes files, or needs a host that can be steered


@pytest.fixture
def host(tmp_path):
    host = FakeHost(tmp_path / "host")
    host.images = write_dataset(tmp_path / "images", 3)
    return host


def test_a_comparison_and_a_run_take_turns(host):
    train(host, host.images)
    desk = Desk(host)
    with host.lock:  # somebody draws: the comparison waits
        desk.comparisons.start(DRAWN | {"run": "run"})
        assert desk.busy and not desk.is_training
        for refused in (lambda: desk.start({"name": "other", "dataset.folder": str(host.images),
                                            "embeddings.0.placeholder": "zkteal"}),
                        lambda: desk.comparisons.start(DRAWN | {"run": "run"}),
                        lambda: desk.comparisons.keep("run", "result")):
            with pytest.raises(PivotalError, match="A comparison is going on"):
                refused()
        desk.comparisons.stop()
    assert desk.comparisons.wait(300).state == "stopped"
    assert not desk.busy
    assert desk.comparisons.keep("run", "result").files


def test_stop_keeps_what_is_drawn_and_gives_the_model_back(host):
    train(host, host.images)
    before = fingerprint(host)
    desk = Desk(host)
    host.while_let = lambda: host.let == 2 and desk.comparisons.stop()
    view = compare(desk, run="run")
    assert (view.state, view.done) == ("stopped", 2)
    assert sum(path is not None for line in view.images for path in line) == 2
    assert fingerprint(host) == before
    assert host.let == 2, "others were let through between the images"


def test_it_ends_when_the_host_changes_the_model(host):
    train(host, host.images)
    host._asked = 0
    host.change = lambda asked: "Another checkpoint was loaded." if asked == 2 else None
    view = compare(Desk(host), run="run")
    assert (view.state, view.done) == ("stopped", 2)
    assert view.message == "Another checkpoint was loaded. The comparison ends here."


def test_keeping_a_copy_gives_it_the_results_name(host):
    train(host, host.images)
    loras = host.folders().loras
    wanted = load_file(loras / "run-000002.safetensors")
    other = loras / "run-000099.safetensors"  # of that name, but of nobody's run
    other.write_bytes((loras / "run-000002.safetensors").read_bytes().replace(b'"pivotal.name":"run"', b'"pivotal.name":"ruN"'))
    desk = Desk(host)
    kept = desk.comparisons.keep("run", "000002")
    found = load_file(loras / "run.safetensors")
    assert all(torch.equal(found[name], wanted[name]) for name in wanted) and found.keys() == wanted.keys()
    metadata = read_metadata(loras / "run.safetensors")
    assert (metadata["ss_output_name"], metadata["modelspec.title"], metadata["pivotal.step"]) == ("run", "run", "2")
    assert metadata["sshs_model_hash"] == model_hash((loras / "run.safetensors").read_bytes())
    assert sorted(path.name for path in loras.glob("*.safetensors")) == ["run-000099.safetensors", "run.safetensors"]
    assert (loras / "run.json").is_file(), "the card stays with the name"
    assert sorted(path.name for path in kept.folder.iterdir()) == [
        "run-000001.safetensors", "run-000002.safetensors", "run.safetensors"]
    assert (kept.files, host.refreshed[-1]) == ((loras / "run.safetensors",), loras / "run.safetensors")


def test_keeping_the_result_puts_only_the_copies_away(host):
    train(host, host.images, network=False)
    embeddings = host.folders().embeddings
    before = (embeddings / "zkteal.safetensors").read_bytes()
    kept = Desk(host).comparisons.keep("run", "result")
    assert (embeddings / "zkteal.safetensors").read_bytes() == before
    assert [path.name for path in embeddings.iterdir()] == ["zkteal.safetensors"]
    assert sorted(path.name for path in kept.moved) == ["zkteal-000001.safetensors", "zkteal-000002.safetensors"]
    assert all((kept.folder / path.name).is_file() for path in kept.moved), "nothing is destroyed"


def test_a_copy_may_keep_its_own_name(host):
    train(host, host.images)
    kept = Desk(host).comparisons.keep("run", "000002", rename=False)
    loras = host.folders().loras
    assert [path.name for path in loras.iterdir()] == ["run-000002.safetensors"]
    assert {"run.json", "run.safetensors"} <= {path.name for path in kept.folder.iterdir()}


def test_words_beside_a_network_go_with_it(host):
    train(host, host.images, save__bundle=False)
    loras = host.folders().loras
    saves = run_saves(host.folders(), recipe_of(host.folders(), "run"))
    assert [list(save.embeddings) for save in saves] == [["zkteal"]] * 3
    wanted = saves[1].embeddings["zkteal"].read_bytes()
    Desk(host).comparisons.keep("run", "000002")
    assert sorted(path.name for path in loras.iterdir() if path.is_dir()) == ["run_embeddings"]
    assert (loras / "run_embeddings" / "zkteal.safetensors").read_bytes() == wanted


def test_an_unknown_save_is_told_with_those_there_are(host):
    train(host, host.images)
    with pytest.raises(OptionError) as caught:
        Desk(host).comparisons.keep("run", "000009")
    assert re.search("no save of 'run'; there are 000001, 000002, result", caught.value.problems["save"])
    assert len(host_files(host.folders())) == 3


def test_hashes_are_those_of_the_whole_and_of_the_tensors(host):
    train(host, host.images)
    data = (host.folders().loras / "run.safetensors").read_bytes()
    found = hashes_of(host.folders().loras / "run.safetensors")
    assert found.whole == hashlib.sha256(data).hexdigest()
    assert found.tensors == read_metadata(host.folders().loras / "run.safetensors")["sshs_model_hash"]


def test_a_paused_run_lets_its_saves_be_compared_and_waits_for_that(host):
    desk = Desk(host)
    desk.start({"name": "run", "dataset.folder": str(host.images), "dataset.resolution": "64", "length.steps": 400,
                "batch.size": 1, "measure.images": 0, "samples.every_steps": 0, "save.every_steps": 1,
                "embeddings.0.placeholder": "zkteal", "embeddings.0.token_count": 1})
    until(lambda: desk.view().files)
    desk.pause()
    until(lambda: desk.view().state == "paused")
    at = desk.view().step
    with host.lock:  # the comparison waits here
        desk.comparisons.start(DRAWN | {"run": "run", "files": [], "base": False})
        for refused in (desk.resume_paused, lambda: desk.comparisons.start(DRAWN | {"run": "run"})):
            with pytest.raises(PivotalError, match="A comparison is going on"):
                refused()
    view = desk.comparisons.wait(300)
    assert (view.state, view.done) == ("finished", view.of) and view.of >= at > 0, view.message
    assert desk.view().state == "paused" and desk.view().step == at
    with pytest.raises(PivotalError, match="is paused"):  # its files are not taken away from under it
        desk.comparisons.keep("run", view.rows[0].name)
    desk.resume_paused()
    until(lambda: desk.view().step > at)
    desk.pause()
    until(lambda: desk.view().state == "paused")
    with host.lock:
        desk.comparisons.start(DRAWN | {"run": "run"})
        desk.stop()
    assert desk.wait(300).state == "stopped" and desk.comparisons.wait(300).state == "stopped", "Stop ends both"


def until(condition):
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_grid_is_there_again_after_a_restart(host):
    train(host, host.images)
    before = compare(Desk(host), run="run", strengths="0.5, 1")
    again = Desk(host).comparisons
    assert again.view() == replace(before, version=1)
    before.images[1][0].unlink()
    assert Desk(host).comparisons.view().images[1][0] is None, "an image that is gone"
    kept = again.keep("run", "000002")
    assert Desk(host).comparisons.view().kept == kept
    record = host.folders().scratch / "comparison.json"
    record.write_text(record.read_text(encoding="utf-8").replace('"state": "finished"', '"state": "running"'), encoding="utf-8")
    cut = Desk(host).comparisons.view()
    assert cut.state == "stopped" and "ended while" in cut.message
    for damaged in ("{}", "[1", '{"id": 5}', record.read_text(encoding="utf-8").replace('"rows": [', '"rows": [5, ')):
        record.write_text(damaged, encoding="utf-8")
        assert Desk(host).comparisons.view().state == "idle"


def test_the_command_draws_one_picture_and_keeps_one_save(trained, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("pivotal.commands.compare.EmbeddedHost", lambda data_dir: trained)
    path = tmp_path / "grid.png"
    asked = ["pair", "--prompts", "a zkteal circle", "--strengths", "0.5, 1", "--steps", "2", "--size", "64", "--seeds", "7",
             "--picture", str(path)]
    assert main(["tool", "compare", *asked]) == 0
    assert capsys.readouterr().out.startswith("7 of 7 images, in ")
    found, folder = pixels(path), Path(trained.folders().scratch, "runs", "pair", "comparison")
    drawn = sorted(sorted(folder.iterdir())[-1].glob("0*.png"))
    assert len(drawn) == 7 and all((pixels(one) == found[y:y + 64, x:x + 64]).all() for one, (y, x) in {
        drawn[1]: (found.shape[0] - 3 * 70, found.shape[1] - 140), drawn[-1]: (found.shape[0] - 70, found.shape[1] - 70)}.items())
    assert main(["tool", "compare", "nobody"]) == 1 and "RUN: there is no run 'nobody'" in capsys.readouterr().err
    assert main(["tool", "compare", "word", "--keep", "000009"]) == 1 and "no save of 'word'" in capsys.readouterr().err
    assert main(["tool", "compare", "word", "--keep", "result"]) == 0
    assert [one.name for one in trained.folders().embeddings.glob("zkword*")] == ["zkword.safetensors"]
