"""The captions of the plan are those that the run's first batches bring, and are cut where those are."""

from fake_host import FakeHost, write_dataset
from pivotal.jobs import batches as batches_module
from pivotal.jobs.checks.plan import make_plan
from pivotal.jobs.control import Control
from pivotal.jobs.desk import work_through
from pivotal.jobs.outlook.captions import first_captions
from runs import QUICK


def plan_of(host, folder, **changes):
    flat = QUICK | {"dataset.folder": str(folder), "measure.images": 0} | {k.replace("__", "."): v for k, v in changes.items()}
    return make_plan(flat, host)


def test_they_are_the_texts_that_the_run_is_fed_with(tmp_path, monkeypatch):
    host, folder = FakeHost(tmp_path / "host"), write_dataset(tmp_path / "images", 5)
    for path in sorted(folder.glob("*.txt")):
        path.write_text(f"a zkteal {path.stem}, red, green, blue, {{large|small}}", encoding="utf-8")
    plan = plan_of(host, folder, dataset__captions="object", caption__shuffle=True, caption__tag_dropout=0.4,
                   caption__wildcards=True, caption__prefix="photo,", length__steps=4, batch__size=2,
                   dataset__resolution="64, 128", dataset__template_place="before")
    fed, plain = [], batches_module.tokenize_caption

    def noted(text, *arguments, **named):
        fed.append(text)
        return plain(text, *arguments, **named)

    shown = first_captions(plan, host)
    monkeypatch.setattr(batches_module, "tokenize_caption", noted)
    assert work_through(plan, host, lambda _event: None, Control(patient=False)) is not None
    assert len(shown) == 8 and {one.text for one in shown} == {*fed}
    assert [one.text for one in shown][:2] == fed[:2]
    assert len({one.text for one in shown}) > 4  # else nothing was drawn
    assert all(one.image.exists() for one in shown)


def test_tokens_are_counted_with_the_vectors_and_the_rest_is_cut(tmp_path):
    host, folder = FakeHost(tmp_path / "host"), write_dataset(tmp_path / "images", 1)
    (folder / "00.txt").write_text("a zkteal " + "cat " * 80, encoding="utf-8")
    (one,) = first_captions(plan_of(host, folder, caption__max_tokens="75", length__steps=1, batch__size=1), host)
    # The host's count: 75 for a full chunk, and a + 2 vectors + 80 cats are 83.
    assert (one.tokens, one.chunks) == (83, 1)
    assert one.text[one.cut:].split() == ["cat"] * 8
    (whole,) = first_captions(plan_of(host, folder, length__steps=1, batch__size=1), host)
    assert (whole.chunks, whole.cut) == (2, None)
