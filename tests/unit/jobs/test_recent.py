"""The latest events by number, for whoever asks what is new."""

from __future__ import annotations

from pivotal.events import Noticed
from pivotal.jobs.watch.recent import AT_ONCE, KEPT, Recent


def filled(count):
    recent = Recent()
    recent.begin("a")
    for number in range(1, count + 1):
        recent.add(Noticed(str(number)))
    return recent


def test_each_asker_gets_what_is_new_to_it():
    recent = filled(5)
    first = recent.since(0)
    assert [event["text"] for event in first["events"]] == ["1", "2", "3", "4", "5"]
    assert (first["run"], first["next"], first["more"], first["missing"]) == ("a", 5, False, 0)
    assert first["events"][0]["event"] == "Noticed" and first["events"][0]["number"] == 1 and "T" in first["events"][0]["at"]
    assert [event["text"] for event in recent.since(3)["events"]] == ["4", "5"]
    for number in (5, 6, 10**9):
        assert recent.since(number)["events"] == [] and recent.since(number)["next"] == 5


def test_much_at_once_comes_in_pages_and_what_is_too_old_is_counted():
    recent, seen, at = filled(2 * AT_ONCE + 5), [], 0
    while True:
        page = recent.since(at)
        seen += [event["number"] for event in page["events"]]
        at = page["next"]
        if not page["more"]:
            break
    assert seen == list(range(1, 2 * AT_ONCE + 6))
    old = filled(KEPT + 7).since(2)
    assert old["missing"] == 5 and old["events"][0]["number"] == 8


def test_a_new_run_counts_from_one_again():
    recent = filled(5)
    recent.begin("b")
    assert recent.since(0) == {"run": "b", "events": [], "next": 0, "more": False, "missing": 0}
    assert recent.since(5)["next"] == 0  # who has seen the run before begins anew
