"""Whole runs on tiny checkpoints of every family."""

from __future__ import annotations

import pytest
import torch

from fake_host import FakeHost, write_dataset
from pivotal.errors import OptionError
from pivotal.events import Failed, Finished, Noticed, Sampled, Saved, StepDone
from pivotal.formats.embedding_file import embedding_bytes, read_embedding
from runs import carry_out, fingerprint


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_an_embedding_is_trained_and_the_model_given_back(tmp_path, family):
    host = FakeHost(tmp_path, family)
    before = fingerprint(host)
    outcome, events = carry_out(host, write_dataset(tmp_path / "images"), measure__images=2,
                                precision__gradient_checkpointing=True)
    assert fingerprint(host) == before
    assert [event.step for event in events if isinstance(event, StepDone)] == list(range(1, 9))
    path = tmp_path / "embeddings" / "zkteal.safetensors"
    assert isinstance(events[-1], Finished) and events[-1].files == (path,) and host.refreshed == [path]
    vectors = read_embedding(path, len(host.model.widths))
    assert [tensor.shape for tensor in vectors] == [(2, width) for width in host.model.widths]
    table = host.model.text_encoders[0].table.weight
    assert not torch.equal(vectors[0][0], table[1901].float())  # moved away from "green</w>"
    assert outcome.metrics["error_after"] != outcome.metrics["error_before"]


def test_with_a_rate_of_zero_nothing_is_learned(tmp_path):
    outcome, _ = carry_out(FakeHost(tmp_path), write_dataset(tmp_path / "images"), optimizer__learning_rate=0,
                           measure__images=2)
    (vectors,) = read_embedding(tmp_path / "embeddings" / "zkteal.safetensors", 1)
    host = FakeHost(tmp_path / "other")
    green, star = host.model.tokenizer(["green *"], add_special_tokens=False)["input_ids"][0]
    assert torch.equal(vectors, host.model.text_encoders[0].table.weight[[green, star]].float())
    assert outcome.metrics["error_after"] == outcome.metrics["error_before"]


@pytest.mark.once
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path):
    images = write_dataset(tmp_path / "images")
    files = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.manual_seed(len(files))  # the global generator has no say
        carry_out(FakeHost(tmp_path / name), images, seed=seed)
        files.append((tmp_path / name / "embeddings" / "zkteal.safetensors").read_bytes())
    assert files[0] == files[1] and files[0] != files[2]


@pytest.mark.parametrize("changes", [{}, {"batch__accumulation": 3, "embeddings__0__stop_after": 5,
                                          "embeddings__0__stop_unit": "steps", "embeddings__1__placeholder": "circle x",
                                          "embeddings__0__preserve_norm": True}])
def test_a_run_that_was_stopped_and_resumed_ends_as_one_that_was_not(tmp_path, changes):
    images = write_dataset(tmp_path / "images")
    if changes:
        for path in images.glob("*.txt"):
            path.write_text("a zkteal circle x", encoding="utf-8")
    carry_out(FakeHost(tmp_path / "whole"), images, **changes)
    outcome, _ = carry_out(FakeHost(tmp_path / "parts"), images, stop_after=3, **changes)
    assert outcome.stopped and outcome.step == 3
    outcome, events = carry_out(FakeHost(tmp_path / "parts"), images, resume=True, **changes)
    assert [event.step for event in events if isinstance(event, StepDone)] == [4, 5, 6, 7, 8]
    for whole in (tmp_path / "whole" / "embeddings").iterdir():
        assert whole.read_bytes() == (tmp_path / "parts" / "embeddings" / whole.name).read_bytes()


@pytest.mark.once
def test_a_frozen_embedding_does_not_move_and_one_without_training_is_not_written(tmp_path):
    images = write_dataset(tmp_path / "images")
    for path in images.glob("*.txt"):
        path.write_text("a zkteal zkhelp", encoding="utf-8")
    host = FakeHost(tmp_path)
    carry_out(host, images)
    kept = tmp_path / "helper.safetensors"
    kept.write_bytes((tmp_path / "embeddings" / "zkteal.safetensors").read_bytes())
    _, events = carry_out(host, images, embeddings__1__placeholder="zkhelp", embeddings__1__train=False,
                          embeddings__1__base_embedding=str(kept), embeddings__0__stop_after=2,
                          embeddings__0__stop_unit="steps")
    assert any(isinstance(event, Noticed) and "ends here" in event.text for event in events)
    assert events[-1].step == 2 and not (tmp_path / "embeddings" / "zkhelp.safetensors").exists()
    two_steps = (tmp_path / "embeddings" / "zkteal.safetensors").read_bytes()
    carry_out(FakeHost(tmp_path / "b"), images, length__steps=2, embeddings__1__placeholder="zkhelp",
              embeddings__1__train=False, embeddings__1__base_embedding=str(kept))
    again = read_embedding(tmp_path / "b" / "embeddings" / "zkteal.safetensors", 1)
    (tmp_path / "x.safetensors").write_bytes(two_steps)
    assert torch.equal(read_embedding(tmp_path / "x.safetensors", 1)[0], again[0])


@pytest.mark.once
def test_an_embedding_that_has_stopped_stays_while_another_goes_on(tmp_path):
    images = write_dataset(tmp_path / "images")
    for path in images.glob("*.txt"):
        path.write_text("a zkteal zkother", encoding="utf-8")
    carry_out(FakeHost(tmp_path), images, embeddings__0__stop_after=2, embeddings__0__stop_unit="steps",
              embeddings__1__placeholder="zkother", save__every_steps=2, optimizer__weight_decay=0.5)
    read = {name: read_embedding(tmp_path / "embeddings" / f"{name}.safetensors", 1)[0]
            for name in ("zkteal", "zkteal-000002", "zkother", "zkother-000002")}
    assert torch.equal(read["zkteal"], read["zkteal-000002"])
    assert not torch.equal(read["zkother"], read["zkother-000002"])


@pytest.mark.once
def test_vectors_keep_the_length_of_their_encoders_own_when_asked(tmp_path):
    host = FakeHost(tmp_path, "sdxl")
    carry_out(host, write_dataset(tmp_path / "images"), embeddings__0__preserve_norm=True)
    vectors = read_embedding(tmp_path / "embeddings" / "zkteal.safetensors", 2)
    for tensor, encoder in zip(vectors, host.model.text_encoders, strict=True):
        lengths = encoder.table.weight.square().sum(dim=1).sqrt()
        wanted = lengths.sort().values[(len(lengths) - 1) // 2]
        torch.testing.assert_close(tensor.square().sum(dim=1).sqrt(), wanted.expand(2), rtol=1e-5, atol=0)


def test_a_run_continues_from_a_file(tmp_path):
    host = FakeHost(tmp_path)
    images = write_dataset(tmp_path / "images")
    base = tmp_path / "base.safetensors"
    vectors = torch.randn(3, 32, generator=torch.Generator().manual_seed(4))
    base.write_bytes(embedding_bytes([vectors], {}))
    changes = {"embeddings__0__base_embedding": str(base), "optimizer__learning_rate": 0}
    with pytest.raises(OptionError) as error:
        carry_out(host, images, **changes)
    assert list(error.value.problems) == ["embeddings.0.token_count"]  # QUICK asks for 2, the file has 3
    carry_out(host, images, embeddings__0__token_count=None, **changes)
    assert torch.equal(read_embedding(tmp_path / "embeddings" / "zkteal.safetensors", 1)[0], vectors)


@pytest.mark.once
def test_copies_previews_and_states_come_when_they_are_due(tmp_path):
    host = FakeHost(tmp_path)
    _, events = carry_out(host, write_dataset(tmp_path / "images"), samples__every_steps=4, samples__steps=2,
                          save__every_steps=3, save__state_every_steps=5)
    assert [(event.step, event.kind) for event in events if isinstance(event, Saved)] == [
        (3, "embedding"), (5, "state"), (6, "embedding"), (8, "state"), (8, "embedding")]
    drawn = [event for event in events if isinstance(event, Sampled)]
    assert [event.step for event in drawn] == [0, 0, 4, 4, 8, 8] and all(event.path.is_file() for event in drawn)
    assert {path.name for path in (tmp_path / "embeddings").iterdir()} == {
        "zkteal.safetensors", "zkteal-000003.safetensors", "zkteal-000006.safetensors"}


@pytest.mark.once
def test_previews_change_nothing_of_what_is_learned(tmp_path):
    images = write_dataset(tmp_path / "images")
    carry_out(FakeHost(tmp_path / "a"), images)
    carry_out(FakeHost(tmp_path / "b"), images, samples__every_steps=2, samples__steps=2, samples__sampler="Euler a")
    left, right = (read_embedding(tmp_path / name / "embeddings" / "zkteal.safetensors", 1)[0] for name in "ab")
    assert torch.equal(left, right)


def test_an_exception_in_the_middle_gives_the_model_back_and_names_itself(tmp_path, monkeypatch):
    host = FakeHost(tmp_path)
    before = fingerprint(host)
    monkeypatch.setattr("pivotal.training.batch_loss.add_noise", lambda *_: 1 / 0)
    outcome, events = carry_out(host, write_dataset(tmp_path / "images"), precision__gradient_checkpointing=True,
                                measure__images=0)
    assert outcome is None and isinstance(events[-1], Failed) and "ZeroDivisionError" in events[-1].message
    assert fingerprint(host) == before and not host.inside


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_what_was_learned_before(tmp_path, monkeypatch):
    from pivotal.training import batch_loss

    host, real, calls = FakeHost(tmp_path), batch_loss.losses, []

    def poisoned(*arguments):
        calls.append(1)
        return real(*arguments) * (float("nan") if len(calls) == 4 else 1)

    monkeypatch.setattr(batch_loss, "losses", poisoned)
    outcome, events = carry_out(host, write_dataset(tmp_path / "images"), measure__images=0, guard__bad_step="stop")
    assert outcome is None and "Step 4" in events[-1].message and "learning rate" in events[-1].message
    assert not (tmp_path / "embeddings" / "zkteal.safetensors").exists()
    monkeypatch.setattr(batch_loss, "losses", real)
    _, events = carry_out(host, tmp_path / "images", resume=True, measure__images=0)
    assert [event.step for event in events if isinstance(event, StepDone)] == [4, 5, 6, 7, 8]
    whole = FakeHost(tmp_path / "whole")
    carry_out(whole, tmp_path / "images", measure__images=0)
    assert (tmp_path / "whole/embeddings/zkteal.safetensors").read_bytes() == \
        (tmp_path / "embeddings/zkteal.safetensors").read_bytes()


def test_an_older_file_of_the_same_name_is_kept(tmp_path):
    host = FakeHost(tmp_path)
    path = tmp_path / "embeddings" / "zkteal.safetensors"
    own = embedding_bytes([torch.ones(3, 32)], {})
    path.write_bytes(own)
    carry_out(host, write_dataset(tmp_path / "images"))
    (kept,) = (tmp_path / "pivotal" / "runs" / "run" / "replaced").iterdir()
    assert kept.read_bytes() == own and path.read_bytes() != own


@pytest.mark.once
def test_older_copies_on_the_way_are_kept_too(tmp_path):
    host = FakeHost(tmp_path)
    copy = tmp_path / "embeddings" / "zkteal-000004.safetensors"
    own = embedding_bytes([torch.ones(3, 32)], {})
    copy.write_bytes(own)
    carry_out(host, write_dataset(tmp_path / "images"), save__every_steps=4)
    (kept,) = (tmp_path / "pivotal" / "runs" / "run" / "replaced").iterdir()
    assert kept.read_bytes() == own and copy.read_bytes() != own


@pytest.mark.once
def test_gradients_that_are_cut_to_nothing_teach_nothing(tmp_path):
    images = write_dataset(tmp_path / "images")
    moved = {}
    for limit in (None, 1e-9):
        outcome, _ = carry_out(FakeHost(tmp_path / str(limit)), images, optimizer__clip_norm=limit, optimizer__epsilon=1e-3,
                               measure__images=2)
        moved[limit] = abs(outcome.metrics["error_after"] - outcome.metrics["error_before"])
    assert moved[1e-9] < 0.01 * moved[None]


@pytest.mark.once
def test_only_the_newest_copies_are_kept_and_nobody_elses_are_touched(tmp_path):
    host = FakeHost(tmp_path)
    other = tmp_path / "embeddings" / "zkteal-000001.safetensors"
    other.write_bytes(embedding_bytes([torch.ones(1, 32)], {}))
    before = other.read_bytes()
    carry_out(host, write_dataset(tmp_path / "images"), save__every_steps=2, save__keep_copies=1, length__steps=7)
    assert {path.name for path in (tmp_path / "embeddings").iterdir()} == {
        "zkteal.safetensors", "zkteal-000006.safetensors", "zkteal-000001.safetensors"}
    assert other.read_bytes() == before
