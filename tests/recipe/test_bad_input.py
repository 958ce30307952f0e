"""What a user may get wrong is told in one sentence under its option; nothing is lost, and the host goes on."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager

import pytest

from fake_host import FakeHost, write_dataset
from pivotal.errors import HostError, OptionError, PivotalError
from pivotal.events import Failed, Finished, Noticed
from pivotal.formats import atomic
from pivotal.jobs.checks.plan import make_plan
from pivotal.jobs.control import Control
from pivotal.jobs.desk import Desk, work_through
from runs import QUICK, carry_out, fingerprint


@pytest.fixture
def host(tmp_path):
    return FakeHost(tmp_path / "host")


@pytest.fixture
def images(tmp_path):
    return write_dataset(tmp_path / "images")


def problems(host, folder, **changes):
    flat = QUICK | {"dataset.folder": str(folder)} | {key.replace("__", "."): value for key, value in changes.items()}
    with pytest.raises(OptionError) as error:
        make_plan(flat, host)
    for text in error.value.problems.values():
        assert "Traceback" not in text and "\n" not in text and len(text) < 400
    return error.value.problems


def test_several_mistakes_are_told_together(host, tmp_path):
    (tmp_path / "empty").mkdir()
    found = problems(host, tmp_path / "empty", optimizer__learning_rate="abc", checkpoint="missing",
                     embeddings__1__placeholder="cat", seed=-1)
    assert "no images" in found["dataset.folder"]
    assert "abc" in found["optimizer.learning_rate"]
    assert "'missing'" in found["checkpoint"] and "tiny" in found["checkpoint"]
    assert "ordinary word" in found["embeddings.1.placeholder"]
    assert "at least 0" in found["seed"]


@pytest.mark.parametrize("rate", ["abc", "nan"])
def test_a_rate_that_is_no_number(host, images, rate):
    assert list(problems(host, images, optimizer__learning_rate=rate)) == ["optimizer.learning_rate"]


def test_an_optimizers_arguments_that_are_no_lines_of_a_name_and_a_value(host, images):
    assert "got 'AAA'" in problems(host, images, optimizer__arguments="AAA")["optimizer.arguments"]


def test_a_placeholder_that_no_caption_has_as_a_word(host, images):
    for path in images.glob("*.txt"):
        path.write_text("a zktealing circle", encoding="utf-8")
    assert "no caption contains 'zkteal'" in problems(host, images)["embeddings.0.placeholder"]


def test_two_embeddings_of_one_name(host, images):
    found = problems(host, images, embeddings__1__placeholder="ZkTeal")
    assert "embedding 1" in found["embeddings.1.placeholder"]


def test_a_zero_byte_caption_and_a_corrupt_image(host, images):
    (images / "01.txt").write_bytes(b"")
    (images / "02.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 50)
    text = problems(host, images)["dataset.folder"]
    assert "01.txt" in text and "02.png" in text and "1 of 6 images" in text


def test_a_base_embedding_that_is_missing_or_of_another_family(host, images, tmp_path):
    path = tmp_path / "x.safetensors"
    assert "does not exist" in problems(host, images, embeddings__0__base_embedding=str(path))[
        "embeddings.0.base_embedding"]
    carry_out(FakeHost(tmp_path / "xl", "sdxl"), images, length__steps=1)
    sdxl = tmp_path / "xl" / "embeddings" / "zkteal.safetensors"
    assert "SDXL" in problems(host, images, embeddings__0__base_embedding=str(sdxl))["embeddings.0.base_embedding"]


def test_an_existing_file_when_it_shall_not_be_replaced(host, images):
    carry_out(host, images, length__steps=1)
    assert "exists" in problems(host, images, save__existing="refuse")["embeddings.0.placeholder"]


def test_a_folder_that_cannot_be_written_to(host, images, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert "cannot be written to: Permission denied" in problems(host, images)["name"]


def test_a_disk_without_room_is_told_before_the_start(host, images, monkeypatch):
    usage = type("usage", (), {"free": 2**20})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    assert "1 MB left" in problems(host, images)["name"]


def full_disk(monkeypatch, failures):
    """Makes the next `failures` renames fail as on a full disk."""
    real, left = os.replace, [failures]

    def replace(*paths):
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*paths)

    monkeypatch.setattr(atomic.os, "replace", replace)
    return left


def test_a_host_that_cannot_take_its_model_back_costs_nothing_that_was_learned(host, images):
    borrow, events = host.borrow, []

    @contextmanager
    def borrowed(checkpoint):
        with borrow(checkpoint) as model:
            yield model
        raise HostError("the WebUI could not load its own again.")

    host.borrow = borrowed
    plan = make_plan(QUICK | {"dataset.folder": str(images), "length.steps": 1}, host)
    assert work_through(plan, host, events.append, Control(patient=False)).files
    assert isinstance(events[-1], Finished) and events[-1].files[0].is_file()
    assert "its own again. What the run has learned is written" in "".join(
        event.text for event in events if isinstance(event, Noticed))


def test_a_disk_that_fills_up_ends_the_run_in_words_with_the_older_file_whole(host, images, monkeypatch):
    carry_out(host, images, length__steps=1)
    path = host.folders().embeddings / "zkteal.safetensors"
    older, before = path.read_bytes(), fingerprint(host)
    plan = make_plan(QUICK | {"dataset.folder": str(images)}, host)
    host.run(lambda: None)
    events: list = []

    def tell(event):
        events.append(event)
        if getattr(event, "name", "") == "saving":
            full_disk(monkeypatch, 99)

    assert work_through(plan, host, tell, Control(patient=False)) is None
    assert isinstance(events[-1], Failed) and "the disk is full" in events[-1].message
    assert path.read_bytes() == older and fingerprint(host) == before
    assert not [file for file in path.parent.iterdir() if atomic.SUFFIX in file.name]


def test_a_disk_that_is_full_from_the_start_ends_the_run_in_words(host, images, monkeypatch):
    plan, events = make_plan(QUICK | {"dataset.folder": str(images)}, host), []
    full_disk(monkeypatch, 99)
    assert work_through(plan, host, events.append, Control(patient=False)) is None
    assert isinstance(events[-1], Failed) and "could not be written or read: the disk is full." in events[-1].message


def test_a_page_waits_for_room_and_the_result_is_not_lost(host, images, monkeypatch):
    monkeypatch.setattr("pivotal.jobs.saving.RETRY_SECONDS", 0.01)
    events: list = []

    def tell(event):
        events.append(event)
        if getattr(event, "name", "") == "saving":
            full_disk(monkeypatch, 3)

    work_through(make_plan(QUICK | {"dataset.folder": str(images)}, host), host, tell, Control(patient=True))
    assert isinstance(events[-1], Finished) and events[-1].files[0].is_file()
    assert sum(isinstance(event, Noticed) and "kept in memory" in event.text for event in events) == 3


def test_a_state_that_cannot_be_written_does_not_end_the_run(host, images, monkeypatch):
    monkeypatch.setattr("pivotal.jobs.saving.save_state",
                        lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    outcome, events = carry_out(host, images, save__state_every_steps=2)
    assert outcome.step == 8 and any(isinstance(e, Noticed) and "state could not" in e.text for e in events)


def test_resuming_needs_a_state_and_the_same_options(host, images):
    flat = QUICK | {"dataset.folder": str(images)}
    with pytest.raises(OptionError, match="nothing to resume"):
        make_plan(flat, host, resume=True)
    carry_out(host, images, stop_after=2)
    with pytest.raises(OptionError) as error:
        make_plan(flat | {"batch.size": 3, "seed": 9}, host, resume=True)
    assert set(error.value.problems) == {"batch.size", "seed"} and "was 2" in error.value.problems["batch.size"]


def test_the_desk_takes_one_run_at_a_time_and_stop_keeps_what_is_learned(host, images):
    desk = Desk(host)
    with pytest.raises(OptionError):
        desk.start({"dataset.folder": "none"})
    with host.lock:  # a generation of the host goes on
        desk.start(QUICK | {"dataset.folder": str(images), "length.steps": 10_000_000})
        assert desk.busy and desk.view().state == "running"
        with pytest.raises(PivotalError, match="being trained"):
            desk.start(QUICK | {"dataset.folder": str(images)})
    while desk.view().step < 3:
        assert desk.busy
    desk.stop()
    view = desk.wait(300)
    assert view.state == "stopped" and view.step >= 3
    assert (host.folders().embeddings / "zkteal.safetensors").is_file()
    assert desk.check(QUICK | {"dataset.folder": str(images)}) == {}


def test_the_hosts_own_interrupt_stops_the_run(host, images):
    host.interrupted = True
    own = host.folders().embeddings / "zkteal.safetensors"
    outcome, events = carry_out(host, images)
    assert outcome.stopped and outcome.step == 0 and outcome.files == () and events[-1].stopped
    assert not own.exists()
