"""The queue's decisions, with a desk that trains nothing."""

import json
import threading
import time
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

import pivotal.jobs.queue.entries
import pivotal.jobs.queue.worker
from pivotal.errors import OptionError, PivotalError, QueueError
from pivotal.hosts.protocol import Checkpoint, Folders
from pivotal.jobs.paths import run_paths
from pivotal.jobs.queue.journals import events_of
from pivotal.jobs.queue.lease import Lease
from pivotal.jobs.queue.queue import RunQueue
from pivotal.jobs.watch.view import JobView


class FakeDesk:
    """Runs last until `end` is called; those of a name in `bad` have a problem."""

    def __init__(self, folder: Path):
        folders = Folders(folder / "embeddings", folder / "loras", folder / "scratch")
        self.loaded = Checkpoint("first", Path("first.safetensors"), "sd1")
        self.host = SimpleNamespace(folders=lambda: folders, checkpoint=lambda: self.loaded,
                                    checkpoints=lambda: ["first", "second"])
        self.is_training, self.started, self.bad, self._view = False, [], {}, JobView()
        self.queue = RunQueue(self)

    @property
    def busy(self):
        return self.is_training

    def check(self, flat, *, resume=False):
        return {"dataset.folder": self.bad[flat["name"]]} if flat["name"] in self.bad else {}

    def start(self, flat, *, resume=False):
        if self.check(flat):
            raise OptionError(self.check(flat))
        if self.is_training:
            raise PivotalError(f"{self._view.name!r} is being trained")
        folder = run_paths(self.host.folders(), flat["name"]).folder
        folder.mkdir(parents=True, exist_ok=True)
        view = JobView(id=f"run{len(self.started)}", name=flat["name"], state="running", of=100)
        self._view, self.is_training = view, True
        self.started.append((flat["name"], resume))
        return view.id

    def end(self, state="finished", **fields):
        self._view = JobView(**{**vars(self._view), "state": state, "step": 100, "smooth_loss": 0.5, **fields})
        self.is_training = False

    def stop(self):
        if self.is_training:
            self.end("stopped")

    def wait(self, timeout=None):
        return self._view

    def view(self):
        return self._view

    def tell(self, **fields):
        self._view = JobView(**{**vars(self._view), **fields})


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(pivotal.jobs.queue.worker, "TICK_S", 0.005)
    monkeypatch.setattr(pivotal.jobs.queue.worker, "NOTED_EVERY_S", 0.0)


@pytest.fixture
def desk(tmp_path):
    return FakeDesk(tmp_path)


def flat(name, **options):
    return {"name": name, "dataset.folder": f"/{name}", **options}


def states(desk):
    return {entry.name: entry.state for entry in desk.queue.store.found()[0]}


def until(condition):
    deadline = time.monotonic() + 300  # other work may share the machine
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in 300 s"
        time.sleep(0.002)


def names_started(desk):
    return [name for name, _ in desk.started]


def test_train_starts_at_once_and_its_end_is_written_down(desk, tmp_path):
    assert desk.queue.train(flat("a")) == ""
    assert names_started(desk) == ["a"] and states(desk) == {"a": "running"}
    (tmp_path / "a.safetensors").write_bytes(b"12345")
    desk.end(files=(tmp_path / "a.safetensors",), log=("one", "two"))
    until(lambda: states(desk) == {"a": "finished"})
    (entry,) = desk.queue.store.found()[0]
    assert (entry.step, entry.of, entry.loss, entry.log) == (100, 100, 0.5, ("one", "two"))
    assert entry.files == ((str(tmp_path / "a.safetensors"), 5),) and entry.ended >= entry.started


def test_a_second_press_waits_for_the_first_run_and_begins_after_it(desk):
    desk.queue.train(flat("a"))
    assert "'b' begins when" in desk.queue.train(flat("b"))
    assert states(desk) == {"a": "running", "b": "waiting"} and names_started(desk) == ["a"]
    desk.end()
    until(lambda: states(desk) == {"a": "finished", "b": "running"} and names_started(desk) == ["a", "b"])
    desk.end()
    until(lambda: states(desk)["b"] == "finished" and not desk.queue.worker.is_working)


def test_two_pages_that_press_train_at_once_start_one_run(desk):
    told = []

    def press():
        try:
            told.append(desk.queue.train(flat("a")))
        except OptionError as error:
            told.append(error.problems["name"])

    threads = [threading.Thread(target=press) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names_started(desk) == ["a"] and told.count("") == 1
    assert all("'a' is being trained already" in text for text in told if text)


def test_what_is_only_added_begins_with_the_queue(desk):
    desk.queue.add([flat("a")])
    desk.queue.add([flat("b")])
    assert desk.started == []
    desk.queue.start()
    until(lambda: names_started(desk) == ["a"])
    desk.end()
    until(lambda: names_started(desk) == ["a", "b"])


def test_a_paused_queue_finishes_its_run_and_takes_no_other(desk):
    desk.queue.add([flat("a"), flat("b")])
    desk.queue.start()
    until(lambda: desk.started)
    desk.queue.pause()
    desk.end()
    until(lambda: states(desk) == {"b": "waiting", "a": "finished"} and desk.queue.worker._thread is None)
    until(lambda: not desk.queue.worker.lease.is_held)
    desk.queue.start()
    until(lambda: names_started(desk) == ["a", "b"])


def test_a_failure_does_not_stop_those_after_it(desk):
    desk.queue.add([flat("a"), flat("b"), flat("c")])
    desk.bad["b"] = "the folder is gone"
    desk.queue.start()
    until(lambda: names_started(desk) == ["a"])
    desk.end("failed", message="broken", problems={"seed": "odd"})
    until(lambda: names_started(desk) == ["a", "c"])
    found = {entry.name: entry for entry in desk.queue.store.found()[0]}
    assert (found["a"].state, found["a"].message, found["a"].problems) == ("failed", "broken", {"seed": "odd"})
    assert (found["b"].state, found["b"].problems) == ("failed", {"dataset.folder": "the folder is gone"})


def test_a_run_that_cannot_even_be_started_does_not_stop_the_queue(desk, monkeypatch):
    desk.queue.add([flat("a"), flat("b")])
    start = desk.start
    monkeypatch.setattr(desk, "start", lambda options, resume=False: 1 / 0 if options["name"] == "a" else start(options))
    desk.queue.start()
    until(lambda: names_started(desk) == ["b"])
    assert states(desk)["a"] == "failed"


def test_problems_are_found_when_a_run_is_added_and_none_of_many_is_added_then(desk):
    desk.bad["b"] = "no images"
    with pytest.raises(OptionError) as told:
        desk.queue.add([flat("a"), flat("b")])
    assert told.value.problems == {"dataset.folder": "no images"} and states(desk) == {}


def test_two_runs_of_one_name_do_not_wait_at_once(desk):
    desk.queue.add([flat("Anna")])
    with pytest.raises(OptionError, match="'Anna' waits in the queue already"):
        desk.queue.add([flat("anna")])  # one folder on Windows
    with pytest.raises(OptionError, match="'b' waits"):
        desk.queue.add([flat("b"), flat("b")])


def test_two_runs_of_one_placeholder_are_told_about_and_added(desk):
    desk.queue.add([flat("a", **{"embeddings.0.placeholder": "zkcat"})])
    _, notices = desk.queue.add([flat("b", **{"embeddings.0.placeholder": "ZKcat"})])
    assert "'a' trains 'ZKcat', too" in notices[0] and len(states(desk)) == 2


def test_a_waiting_run_keeps_the_checkpoint_of_when_it_was_added(desk):
    entries, _ = desk.queue.add([flat("a"), flat("b", checkpoint="second")])
    assert [entry.options["checkpoint"] for entry in entries] == ["first", "second"]


def test_a_waiting_run_is_edited_in_its_place(desk):
    (first, _), _ = desk.queue.add([flat("a"), flat("b")])
    desk.queue.edit(first.id, flat("a2", seed=5))
    assert [entry.name for entry in desk.queue.store.open_runs()] == ["a2", "b"]
    assert desk.queue.store.get(first.id).options["seed"] == 5
    with pytest.raises(OptionError, match="'b' waits"):
        desk.queue.edit(first.id, flat("b"))
    desk.queue.start()
    until(lambda: desk.started)
    with pytest.raises(QueueError, match="'a2' is running"):
        desk.queue.edit(first.id, flat("a3"))


def test_two_pages_that_give_two_runs_one_name_are_not_both_heard(desk, monkeypatch):
    (first, second), _ = desk.queue.add([flat("a"), flat("b")])
    check, refused = desk.check, []

    def other():
        try:
            desk.queue.edit(second.id, flat("c", seed=2))
        except OptionError as error:
            refused.append(error.problems["name"])

    thread = threading.Thread(target=other)

    def slow_check(options, *, resume=False):
        if options.get("seed") == 1:
            thread.start()
            thread.join(0.1)  # while the first edit is at it
        return check(options, resume=resume)

    monkeypatch.setattr(desk, "check", slow_check)
    desk.queue.edit(first.id, flat("c", seed=1))
    thread.join()
    assert states(desk) == {"c": "waiting", "b": "waiting"} and "'c' waits" in refused[0]


def test_a_duplicate_gets_the_next_free_name(desk):
    (entry,), _ = desk.queue.add([flat("a", seed=7)])
    assert [desk.queue.duplicate(entry.id)[0].name for _ in range(2)] == ["a 2", "a 3"]
    copy, _ = desk.queue.duplicate(entry.id, "mine")
    assert copy.options == {**entry.options, "name": "mine"} and copy.state == "waiting"


def left(desk, name, state="interrupted"):
    """A run that an earlier process left, with its state on disk."""
    (entry,), _ = desk.queue.add([flat(name)])
    folder = run_paths(desk.host.folders(), name)
    folder.folder.mkdir(parents=True)
    folder.state.write_bytes(b"x")
    return desk.queue.store.change(entry.id, state=state)


def test_a_run_that_was_left_goes_on_at_one_press_and_the_others_stay(desk):
    entry = left(desk, "a")
    desk.queue.add([flat("b")])
    desk.queue.retry(entry.id)
    until(lambda: desk.started == [("a", True)])
    desk.end()
    until(lambda: states(desk) == {"a": "finished", "b": "waiting"} and desk.queue.worker._thread is None)


def test_a_failed_run_is_begun_anew_where_that_is_asked_for(desk):
    entry = left(desk, "a", "failed")
    desk.queue.retry(entry.id, resume=False)
    until(lambda: desk.started == [("a", False)])


def test_what_waits_or_is_finished_cannot_be_continued(desk):
    (entry,), _ = desk.queue.add([flat("a")])
    with pytest.raises(QueueError, match="'a' is waiting"):
        desk.queue.retry(entry.id)
    desk.queue.store.change(entry.id, state="finished")
    with pytest.raises(QueueError, match="is finished; nothing is left"):
        desk.queue.retry(entry.id, resume=True)


def test_a_form_that_resumes_a_run_goes_on_with_its_entry(desk):
    entry = left(desk, "a", "stopped")
    desk.queue.train(flat("a", seed=9), resume=True)
    assert states(desk) == {"a": "running"} and desk.queue.store.get(entry.id).options["seed"] == 9


@pytest.fixture
def silent(monkeypatch):
    """Nothing is written while a run goes on."""
    monkeypatch.setattr(pivotal.jobs.queue.worker, "NOTED_EVERY_S", float("inf"))


def killed(desk):
    """What the system does when a process is gone."""
    desk.queue.worker.lease.release()


def test_after_a_restart_runs_wait_and_the_one_that_ran_is_interrupted(desk, tmp_path, silent):
    desk.queue.train(flat("a"))
    desk.queue.add([flat("b")])
    (entry,) = [entry for entry in desk.queue.store.open_runs() if entry.name == "a"]
    with entry.journal.open("w") as journal:
        for step in (1, 2):
            journal.write(json.dumps({"event": "StepDone", "step": step, "of": 9, "loss": 1.0, "smooth_loss": 0.75}) + "\n")
        journal.write('{"event": "StepDone", "st')  # the process was killed here
    killed(desk)

    again = FakeDesk(tmp_path)
    again.queue.recover()
    assert states(again) == {"a": "interrupted", "b": "waiting"}
    left_entry = again.queue.store.get(entry.id)
    assert (left_entry.step, left_entry.of, left_entry.loss) == (2, 9, 0.75)
    assert again.started == [] and not again.queue.worker.lease.is_held
    desk.end()


def test_a_run_whose_end_nobody_wrote_down_is_known_by_its_journal(desk, tmp_path, silent):
    desk.queue.train(flat("a"))
    (entry,) = desk.queue.store.open_runs()
    made = tmp_path / "a.safetensors"
    made.write_bytes(b"123")
    entry.journal.write_text(json.dumps({"event": "Finished", "step": 3, "stopped": False, "files": [str(made)]}) + "\n")
    killed(desk)
    again = FakeDesk(tmp_path)
    again.queue.recover()
    (found,) = again.queue.store.found()[0]
    assert (found.state, found.files) == ("finished", ((str(made), 3),))
    desk.end()


def test_a_run_that_was_taken_and_never_begun_has_not_the_end_of_an_older_one_of_its_name(desk, tmp_path):
    desk.queue.add([flat("a")])
    journal = desk.queue.store.open_runs()[0].journal
    journal.parent.mkdir(parents=True)
    journal.write_text(json.dumps({"event": "Finished", "step": 3, "stopped": False, "files": []}) + "\n")
    desk.queue.store.take_next()  # and the process ends while the run's images are looked at
    again = FakeDesk(tmp_path)
    again.queue.recover()
    assert states(again) == {"a": "interrupted"}


def test_what_a_run_tells_before_it_is_written_down_is_among_its_events(desk, monkeypatch):
    start = desk.start

    def told(options, *, resume=False):
        identifier = start(options, resume=resume)
        run_paths(desk.host.folders(), options["name"]).journal.write_text('{"event": "Phase"}\n')
        return identifier

    monkeypatch.setattr(desk, "start", told)
    desk.queue.begin(flat("a"))
    assert events_of(desk.queue.store.open_runs()[0], 0) == ([{"event": "Phase"}], 1)


def test_a_process_that_comes_second_says_so_and_leaves_the_runs_of_the_first_alone(desk, tmp_path):
    desk.queue.train(flat("a"))
    second = FakeDesk(tmp_path)
    second.queue.recover()
    assert states(second) == {"a": "running"}
    with pytest.raises(QueueError, match="Another WebUI"):
        second.queue.start()
    second.queue.add([flat("b")])
    assert "Another WebUI" in second.queue.train(flat("c"))
    assert names_started(second) == ["c"], "its own device is free"
    desk.end()
    until(lambda: states(desk)["a"] == "finished")
    assert states(second)["b"] == "waiting"


def test_a_locked_file_keeps_no_run_from_starting(desk, monkeypatch, caplog):
    def locked(*_):
        raise QueueError("it is in use by another program")

    monkeypatch.setattr(desk.queue.store.database, "_guarded", locked)
    assert "not in the queue's history" in desk.queue.train(flat("a"))
    assert names_started(desk) == ["a"] and "in use by another program" in caplog.text


def test_an_end_is_written_down_once_the_file_can_be_used_again(desk, monkeypatch):
    desk.queue.train(flat("a"))
    guarded, tries = desk.queue.store.database._guarded, []

    def locked(*work):
        tries.append(work)
        if len(tries) < 20:
            raise QueueError("locked")
        return guarded(*work)

    monkeypatch.setattr(desk.queue.store.database, "_guarded", locked)
    desk.end()
    until(lambda: len(tries) >= 20 and states(desk) == {"a": "finished"})


def test_a_clock_that_goes_backwards_changes_no_order(desk, monkeypatch):
    times = count()
    monkeypatch.setattr(pivotal.jobs.queue.entries, "datetime", SimpleNamespace(
        now=lambda zone: datetime(2026, 1, 1, tzinfo=zone) - timedelta(hours=next(times))))
    desk.queue.add([flat(name) for name in "abc"])
    desk.queue.start()
    for number, name in enumerate("abc", 1):
        until(partial(lambda name: names_started(desk)[-1:] == [name] and states(desk)[name] == "running", name))
        desk.end()
        until(partial(lambda number: list(states(desk).values()).count("finished") == number, number))
    assert [entry.name for entry in desk.queue.store.found(only="history")[0]] == ["c", "b", "a"], "the latest first"


def test_what_was_not_foreseen_does_not_end_the_thread_that_takes_runs(desk, monkeypatch, caplog):
    desk.queue.train(flat("a"))
    view, faults = desk.view, []

    def burst():
        faults.append(1)
        if len(faults) < 3:
            raise RuntimeError("not foreseen")
        return view()

    monkeypatch.setattr(desk, "view", burst)
    desk.end()
    until(lambda: states(desk) == {"a": "finished"})
    assert len(faults) >= 3 and "RuntimeError: not foreseen" in caplog.text


def test_a_file_that_is_damaged_while_a_run_goes_on_is_begun_anew_with_that_run(desk, silent):
    desk.queue.add([flat("waits")])
    desk.queue.train(flat("a"))
    desk.queue.store.database.path.write_bytes(b"noise" * 1000)
    desk.end()
    until(lambda: desk.queue.worker._thread is None)
    assert states(desk) == {"a": "finished"} and "was damaged" in desk.queue.notice


def test_the_end_of_the_program_leaves_a_run_that_can_go_on(desk):
    desk.queue.train(flat("a"))
    desk.queue.train(flat("b"))
    desk.queue.close(10)
    assert states(desk) == {"a": "interrupted", "b": "waiting"} and names_started(desk) == ["a"]


def test_a_paused_run_is_shown_as_such_and_the_queue_waits_for_it(desk):
    desk.queue.train(flat("a"))
    desk.queue.train(flat("b"))
    desk.tell(state="paused")
    until(lambda: states(desk) == {"a": "paused", "b": "waiting"})
    assert desk.queue.current().state == "paused"
    desk.tell(state="running", step=5)
    until(lambda: states(desk)["a"] == "running" and desk.queue.store.open_runs()[0].step == 5)
    assert names_started(desk) == ["a"]


def test_a_lease_of_nobody_is_given_back_when_nothing_is_left_to_do(desk, tmp_path):
    desk.queue.train(flat("a"))
    desk.end()
    until(lambda: desk.queue.worker._thread is None)
    until(Lease(tmp_path / "scratch" / "queue.lock").take)
