"""What a run tells of its vectors and notices by itself; numbers from the files that it writes and the encoder's table."""

from __future__ import annotations

import pytest
import torch

from fake_host import FakeHost, write_dataset
from pivotal.events import Noticed, StepDone, VectorsTold
from pivotal.formats.embedding_file import embedding_bytes, read_embedding
from runs import carry_out

pytestmark = pytest.mark.once


def told(events):
    return [event for event in events if isinstance(event, VectorsTold)]


def keys(events):
    return [event.key for event in events if isinstance(event, Noticed) and event.key]


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_the_last_word_on_the_vectors_is_that_of_the_file(tmp_path, family):
    host = FakeHost(tmp_path, family)
    _, events = carry_out(host, write_dataset(tmp_path / "images"), length__steps=4)
    last = told(events)[-1]
    tables = [encoder.table.weight.float() for encoder in host.model.text_encoders]
    files = read_embedding(tmp_path / "embeddings" / "zkteal.safetensors", len(tables))
    green, star = host.model.tokenizer(["green *"], add_special_tokens=False)["input_ids"][0]
    named = [(one.placeholder, one.number) for one in last.vectors]
    assert last.step == 4 and named == [("zkteal", 1), ("zkteal", 2)] * len(tables)
    assert [one.encoder for one in last.vectors[::2]] == ["clip_l", "clip_g"][:len(tables)]
    for table, file, two in zip(tables, files, (last.vectors[:2], last.vectors[2:]), strict=False):
        middle = table.square().sum(1).sqrt().sort().values[(len(table) - 1) // 2]  # torch's median is the lower one
        for vector, start, one in zip(file, (green, star), two, strict=True):
            length = sum(value**2 for value in vector.tolist()) ** 0.5
            cosine = float(vector @ table[start]) / (length * float(table[start].square().sum()) ** 0.5)
            assert (one.norm, one.relative) == pytest.approx((length, length / float(middle)), rel=1e-4)
            assert one.drift == pytest.approx(1 - cosine, abs=1e-5) and one.moved and 0 < one.drift < 1
            assert len(one.nearest) == 3 and one.nearest[0][1] >= one.nearest[1][1] >= one.nearest[2][1]
    assert last.vectors[0].nearest[0][0] == "green"  # four steps lead nowhere else
    assert set(last.by_timestep) <= {str(first) for first in range(0, 1000, 100)} and len(last.by_timestep) > 2


def test_with_a_rate_of_zero_the_vectors_stay_and_it_is_said_why(tmp_path):
    _, events = carry_out(FakeHost(tmp_path), write_dataset(tmp_path / "images"), optimizer__learning_rate=0, length__steps=25)
    last = told(events)[-1]
    assert [(one.drift, one.moved, one.nearest[0][0]) for one in last.vectors] == [
        (pytest.approx(0, abs=1e-12), False, "green"), (pytest.approx(0, abs=1e-12), False, "*")]
    assert keys(events).count("optimizer.learning_rate") == 1


def test_a_vector_that_is_far_too_long_is_noticed_in_a_run(tmp_path):
    base = tmp_path / "base.safetensors"
    base.write_bytes(embedding_bytes([torch.full((2, 32), 3.0)], {}))  # 17, where tokens have about 1.7
    _, events = carry_out(FakeHost(tmp_path), write_dataset(tmp_path / "images"), embeddings__0__base_embedding=str(base),
                          length__steps=2)
    assert "embeddings.0.preserve_norm" in keys(events)
    _, events = carry_out(FakeHost(tmp_path / "b"), write_dataset(tmp_path / "images"), length__steps=2)
    assert "embeddings.0.preserve_norm" not in keys(events)


def test_looking_changes_nothing_and_comes_seldom(tmp_path, monkeypatch):
    images = write_dataset(tmp_path / "images")
    monkeypatch.setattr("pivotal.jobs.watch.insights.LEAST_SECONDS", 0.0)
    monkeypatch.setattr("pivotal.jobs.watch.insights.SHARE", 0.0)
    monkeypatch.setattr("pivotal.jobs.watch.insights.TIMES", 0)
    _, often = carry_out(FakeHost(tmp_path / "a"), images)
    monkeypatch.setattr("pivotal.jobs.watch.insights.LEAST_SECONDS", 1e9)
    _, seldom = carry_out(FakeHost(tmp_path / "b"), images)
    assert [event.step for event in told(often)] == list(range(1, 9)) and [event.step for event in told(seldom)] == [1, 8]
    files = [(tmp_path / name / "embeddings" / "zkteal.safetensors").read_bytes() for name in "ab"]
    assert files[0] == files[1]


def test_an_optimizer_that_finds_its_rate_tells_what_it_has_found(tmp_path):
    _, events = carry_out(FakeHost(tmp_path), write_dataset(tmp_path / "images"), optimizer__kind="prodigy",
                          optimizer__learning_rate=1.0, optimizer__first_estimate=1e-5)
    found = [event.estimates["zkteal"] for event in events if isinstance(event, StepDone)]
    rates = [event.rates["zkteal"] for event in events if isinstance(event, StepDone)]
    assert found[0] >= 1e-5 and found[-1] > found[0] and found == sorted(found)
    assert rates == pytest.approx(found)  # its rate is 1
    _, events = carry_out(FakeHost(tmp_path / "b"), write_dataset(tmp_path / "images"), length__steps=1)
    assert next(event for event in events if isinstance(event, StepDone)).estimates == {}
