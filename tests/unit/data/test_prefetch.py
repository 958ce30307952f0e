"""What is read ahead, in which thread, and what becomes of errors."""

from __future__ import annotations

import threading

import pytest

from pivotal.data.prefetch import AHEAD, Prefetch, read_ahead


def reading_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("pivotal-reading")]


def test_what_comes_next_is_begun_before_it_is_asked_for():
    begun = {key: threading.Event() for key in range(4)}
    calls = []

    def work(key):
        calls.append((key, threading.current_thread() is threading.main_thread()))
        begun[key].set()
        return key * 10

    with Prefetch(work) as ahead:
        assert ahead.get(0, [1, 2]) == 0
        assert begun[2].wait(300)
        assert ahead.get(1, [2, 3]) == 10
        assert ahead.get(2, [3]) == 20
        assert begun[3].wait(300)
        assert ahead.get(3) == 30
    assert calls == [(0, False), (1, False), (2, False), (3, False)]  # each once, none by the caller
    assert reading_threads() == []


def test_other_keys_than_were_told_are_answered_all_the_same():
    with Prefetch(lambda key: key * 10) as ahead:
        assert [ahead.get(key, [key + 1]) for key in (5, 0, 1, 7, 7)] == [50, 0, 10, 70, 70]
        ahead.close()
        assert ahead.get(3, [4]) == 30
    assert reading_threads() == []


def test_an_error_is_raised_where_its_key_is_asked_for():
    def work(key):
        if key == 1:
            raise ValueError("no such image")
        return key

    with Prefetch(work) as ahead:
        assert ahead.get(0, [1, 2]) == 0
        with pytest.raises(ValueError, match="no such image"):
            ahead.get(1, [2])
        assert ahead.get(2) == 2
    assert reading_threads() == []


def test_reading_ahead_keeps_the_order_and_holds_only_a_few():
    done = []

    def work(key):
        done.append(key)
        return -key

    seen = []
    for key, value in read_ahead(work, range(20)):
        assert value == -key and len(done) <= key + 1 + AHEAD
        seen.append(key)
    assert seen == list(range(20)) and reading_threads() == []


def test_reading_ahead_ends_its_thread_when_it_is_left_early():
    reader = read_ahead(lambda key: key, range(100))
    assert next(reader) == (0, 0)
    reader.close()
    assert reading_threads() == []

    with pytest.raises(ZeroDivisionError):
        list(read_ahead(lambda key: 1 // key, [1, 0, 2]))
    assert reading_threads() == []
