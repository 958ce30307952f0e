"""One recipe over many folders, and what a journal tells of a run."""

import json
from pathlib import Path

import pytest

from pivotal.errors import OptionError
from pivotal.jobs.queue.entries import Entry
from pivotal.jobs.queue.journals import curve_of, ending_of, events_of
from pivotal.jobs.queue.over import spread, subfolders

A, B = Path("/people/anna"), Path("/people/ben 2")


def test_names_placeholders_and_prompts_follow_the_folder():
    flat = {"name": "x", "embeddings.0.placeholder": "zkold", "samples.prompts": "a zkold\nzkolder, ZKOLD's", "seed": 3}
    (_, anna), (_, ben) = spread(flat, [A, B], placeholder="zk {folder}")
    assert anna == {"name": "anna", "dataset.folder": str(A), "embeddings.0.placeholder": "zk anna", "seed": 3,
                    "samples.prompts": ["a zk anna", "zkolder, zk anna's"]}
    assert (ben["name"], ben["embeddings.0.placeholder"]) == ("ben 2", "zk ben 2")


def test_a_recipe_that_names_the_folder_itself_is_filled_in_everywhere():
    flat = {"name": "{folder} v2", "embeddings.0.placeholder": "zk{folder}", "embeddings.1.placeholder": "zs{folder}",
            "concepts.0.folder": "{path}/regularization", "samples.prompts": ["{folder} {path}"], "caption.prefix": "{}"}
    ((_, made),) = spread(flat, [A], name="ignored {folder}")
    assert made == {"name": "anna v2", "embeddings.0.placeholder": "zkanna", "embeddings.1.placeholder": "zsanna",
                    "concepts.0.folder": f"{A}/regularization", "samples.prompts": [f"anna {A}"], "caption.prefix": "{}",
                    "dataset.folder": str(A)}


def test_a_folder_whose_name_is_a_pattern_is_taken_as_it_is():
    ((_, made),) = spread({}, [Path("/x/{path}")])
    assert made == {"name": "{path}", "dataset.folder": str(Path("/x/{path}"))}


@pytest.mark.parametrize(
    ("flat", "patterns", "keys"),
    [({}, {"name": "one"}, {"name"}), ({"embeddings.0.placeholder": "a"}, {"placeholder": "b"}, {"placeholder"}),
     ({"embeddings.0.placeholder": "a{folder}", "embeddings.1.placeholder": "b"}, {}, {"embeddings.1.placeholder"})],
)  # fmt: skip
def test_patterns_that_give_two_runs_one_file_are_refused(flat, patterns, keys):
    with pytest.raises(OptionError) as told:
        spread(flat, [A, B], **patterns)
    assert set(told.value.problems) == keys


@pytest.mark.parametrize("folders", [[], [A] * 1001])
def test_the_number_of_folders_has_limits(folders):
    with pytest.raises(OptionError, match="expected 1 to 1000 folders"):
        spread({}, folders)


def test_subfolders_come_as_people_count_them_and_files_do_not(tmp_path):
    for name in ("10", "9", "b", "A", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "file.png").write_bytes(b"")
    with pytest.raises(OptionError, match="holds no folders"):
        subfolders(str(tmp_path / "b"))
    with pytest.raises(OptionError, match="cannot be read"):
        subfolders(str(tmp_path / "gone"))
    found = [path.name for path in subfolders(f" {tmp_path} ")]
    assert found[:2] == ["9", "10"] and found[2:] == ["A", "b"]


def entry(folder, *events, before=0):
    lines = [json.dumps(event) for event in events]
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Entry("0" * 12, "x", {}, folder=str(folder), journal_from=sum(len(line) + 1 for line in lines[:before]))


def step(number, loss=1.0):
    return {"at": "now", "event": "StepDone", "step": number, "of": 5000, "loss": loss, "smooth_loss": loss / 2}


@pytest.mark.parametrize("text", ["~nosuchuser/people", "/a\0", "x" * 300])
def test_a_folder_that_can_be_none_is_told_under_its_key(text):
    with pytest.raises(OptionError) as told:
        subfolders(text)
    assert list(told.value.problems) == ["folder"]


def test_events_of_earlier_runs_of_the_name_do_not_count(tmp_path):
    made = entry(tmp_path, {"event": "Finished", "stopped": False, "files": []}, step(1), step(2), before=1)
    assert [event["step"] for event in events_of(made, 0)[0]] == [1, 2]
    assert events_of(made, 1, limit=1) == ([step(2)], 2) and events_of(made, 5) == ([], 5)
    assert ending_of(made)["state"] == "interrupted" and ending_of(made)["step"] == 2


def test_a_journal_that_was_cut_off_or_is_gone_tells_what_it_can(tmp_path):
    made = entry(tmp_path, step(1), [5], step(3))
    with made.journal.open("ab") as file:
        file.write(b'{"event": "Fin')
    assert len(events_of(made, 0)[0]) == 3 and ending_of(made)["step"] == 3
    made.journal.unlink()
    assert ending_of(made) == {"state": "interrupted", "message": "The WebUI ended while it ran."}
    assert curve_of(made) == ((), ()) and events_of(made, 0) == ([], 0)


def test_a_long_curve_is_thinned_out_to_its_end_and_read_once(tmp_path):
    made = entry(tmp_path, *(step(number, number) for number in range(1, 5001)), {"event": "Measured", "step": 9, "error": 0.5})
    curve, measured = curve_of(made)
    assert 200 <= len(curve) <= 400 and curve[-1][0] > 4900 and all(loss == number for number, loss, _ in curve)
    assert measured == ((9, 0.5),)
    assert curve_of(made)[0] is curve
