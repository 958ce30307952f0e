"""The queue's file: order, search, damage, locks."""

import os
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

import pivotal.jobs.queue.database
from pivotal.errors import QueueError
from pivotal.jobs.queue.entries import Entry, new_id, placeholders_of
from pivotal.jobs.queue.lease import Lease
from pivotal.jobs.queue.store import NoSuchRun, Store, WrongState

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "data" / "queue.sqlite")


def entry(name, **fields):
    return Entry(new_id(), name, {"name": name, "dataset.folder": f"/images/{name}", **fields.pop("options", {})}, **fields)


def filled(store, *names):
    entries = [entry(name) for name in names]
    store.add(entries)
    return {made.name: made.id for made in entries}


def waiting(store):
    return [found.name for found in store.open_runs() if found.state == "waiting"]


def test_a_run_comes_back_as_it_was_written(store):
    written = entry("x <b>\U0001f600", options={"samples.prompts": ["a", 'b "c"'], "seed": 5, "batch.size": None},
                    created="2026-01-01T00:00:00+00:00", files=(("/a", 5),), log=("one",), problems={"name": "bad"}, loss=0.25,
                    journal_from=7)
    store.add([written])
    assert store.get(written.id) == written


def test_the_order_is_that_of_adding_whatever_the_clock_says(store):
    store.add([entry("late", created="2030-01-01T00:00:00+00:00")])
    store.add([entry("early", created="1970-01-01T00:00:00+00:00")])
    assert waiting(store) == ["late", "early"]
    assert [store.take_next().name, store.take_next().name, store.take_next()] == ["late", "early", None]
    for name in ("late", "early"):
        found = next(found for found in store.open_runs() if found.name == name)
        store.change(found.id, state="finished", ended={"late": "2030", "early": "1970"}[name])
    assert [found.name for found in store.found()[0]] == ["early", "late"], "the one started last comes first"


@pytest.mark.parametrize(("to", "order"), [("up", "acbd"), ("down", "abdc"), ("top", "cabd"), ("bottom", "abdc")])
def test_a_waiting_run_is_moved(store, to, order):
    ids = filled(store, *"abcd")
    store.move(ids["c"], to)
    assert "".join(waiting(store)) == order


def test_what_cannot_go_further_stays(store):
    ids = filled(store, "a", "b")
    store.move(ids["a"], "up")
    store.move(ids["b"], "down")
    assert waiting(store) == ["a", "b"]


def test_only_what_waits_is_moved_and_what_runs_is_not_removed(store):
    ids = filled(store, "a", "b")
    store.take_next()
    with pytest.raises(WrongState, match="'a' is running"):
        store.move(ids["a"], "up")
    with pytest.raises(QueueError, match="going on"):
        store.remove(ids["a"])
    store.remove(ids["b"])
    with pytest.raises(NoSuchRun):
        store.get(ids["b"])


def test_moves_of_many_threads_lose_and_double_nothing(store):
    ids = filled(store, *"abcdefgh")

    def shuffle(name, to):
        for _ in range(5):
            store.move(ids[name], to)

    places = ["up", "down", "top", "bottom"] * 2
    threads = [threading.Thread(target=shuffle, args=pair) for pair in zip("abcdefgh", places, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waiting(store)) == list("abcdefgh")


def test_one_run_is_taken_once_however_many_ask(store):
    filled(store, *(str(index) for index in range(20)))
    taken = []
    threads = [threading.Thread(target=lambda: taken.extend(store.take_next().name for _ in range(5))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken, key=int) == [str(index) for index in range(20)]


def test_a_search_needs_all_its_words_and_knows_no_case_and_no_wildcards(store):
    store.add([entry("Red cat", options={"embeddings.0.placeholder": "zkCat"}), entry("red dog"), entry("100% blue")])
    assert [found.name for found in store.found(search="RED zkcat")[0]] == ["Red cat"]
    assert [found.name for found in store.found(search="%")[0]] == ["100% blue"]
    assert [found.name for found in store.found(search="/images/red")[0]] == ["Red cat", "red dog"]
    assert store.found(search="_")[0] == []


def test_a_thousand_runs_are_paged_and_counted(store):
    store.add([entry(str(index), state="finished" if index % 2 else "failed") for index in range(1000)])
    page, count = store.found(only="history", limit=30, offset=30)
    assert count == 1000 and [found.name for found in page] == [str(969 - index) for index in range(30)]
    assert store.found(state="failed", limit=1)[1] == 500 and store.found(only="open") == ([], 0)
    assert store.clear("failed") == 500 and store.clear() == 500 and store.found() == ([], 0)


def test_the_revision_changes_with_each_write_and_with_no_read(store):
    seen = {store.database.revision()}
    ids = filled(store, "a")
    seen.add(store.database.revision())
    store.change(ids["a"], name="b")
    seen.add(store.database.revision())
    store.found()
    assert len(seen) == 3 and store.database.revision() in seen


@pytest.mark.parametrize("harm", ["noise", "cut", "other tables", "pages"])
def test_a_damaged_file_is_set_aside_and_the_queue_goes_on_empty(store, harm):
    filled(store, *(f"run {index}" for index in range(200)))
    path = store.database.path
    content = path.read_bytes()
    if harm == "noise":
        path.write_bytes(b"not a database" * 100)
    elif harm == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif harm == "pages":
        path.write_bytes(content[:4096] + os.urandom(len(content) - 4096))
    else:
        path.unlink()
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE mine (x)")
        other.close()
    harmed = path.read_bytes()
    store = Store(path)
    assert store.found() == ([], 0)
    (kept,) = path.parent.glob("queue-damaged-*.sqlite")
    assert kept.read_bytes() == harmed and kept.name in store.database.notice
    filled(store, "new")
    assert waiting(store) == ["new"] and waiting(Store(path)) == ["new"]


def test_damage_that_shows_while_it_is_used_is_set_aside_too(store):
    filled(store, "a")
    store.database.path.write_bytes(b"x" * 5000)
    threads = [threading.Thread(target=store.found) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.found() == ([], 0)
    assert len(list(store.database.path.parent.glob("queue-damaged-*.sqlite"))) == 1


def test_a_locked_file_is_a_sentence_and_is_not_set_aside(store, monkeypatch):
    monkeypatch.setattr(pivotal.jobs.queue.database, "BUSY_S", 0.05)
    filled(store, "a")
    other = sqlite3.connect(store.database.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(QueueError, match="in use by another program"):
        store.found()
    other.close()
    assert waiting(store) == ["a"]


def test_a_file_of_a_newer_version_is_left_alone(store):
    filled(store, "a")
    with sqlite3.connect(store.database.path) as other:
        other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(QueueError, match="newer Pivotal"):
        store.found()
    assert [path.name for path in store.database.path.parent.iterdir()] == ["queue.sqlite"]


def test_a_folder_that_is_a_file_is_a_sentence(tmp_path):
    (tmp_path / "data").write_text("x")
    with pytest.raises(QueueError, match="cannot be used"):
        Store(tmp_path / "data" / "queue.sqlite").found()


HOLDER = """
import sys
from pathlib import Path
from pivotal.jobs.queue.lease import Lease
lease = Lease(Path(sys.argv[1]))
print(lease.take(), flush=True)
sys.stdin.read()
"""


def test_one_process_of_two_has_the_lease_and_a_killed_one_loses_it(tmp_path):
    path = tmp_path / "queue.lock"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "extension")}
    other = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                             env=environment)
    try:
        assert other.stdout.readline().strip() == "True"
        lease = Lease(path)
        assert not lease.take() and not lease.is_held
    finally:
        other.kill()
        other.communicate()
    assert lease.take() and lease.is_held and lease.take()
    assert not Lease(path).take()
    lease.release()
    assert Lease(path).take()


def test_a_lock_file_that_holds_noise_does_not_keep_anyone_from_working(tmp_path, caplog):
    path = tmp_path / "queue.lock"
    path.write_text("noise" * 1000)
    assert Lease(path).take()
    assert "cannot be locked" in caplog.text


def test_the_words_of_embeddings_that_are_not_trained_do_not_count():
    options = {"embeddings.0.placeholder": "a", "embeddings.1.placeholder": "b", "embeddings.1.train": False}
    assert placeholders_of(options) == ["a"]
    assert placeholders_of(replace(entry("x"), options={}).options) == []
