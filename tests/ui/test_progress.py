"""A run's snapshot as HTML: what stands there in each state, and that nothing in it is taken for markup."""

import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pivotal.events import ImageLoss, Planned, PlannedBucket, PlannedConcept
from pivotal.jobs.view import JobView
from pivotal.ui.chart import loss_chart
from pivotal.ui.progress import duration, progress_html, view_version

RUNNING = JobView(
    id="job", name="tealish", state="running", phase="training", step=40, of=200, loss=0.1234, smooth_loss=0.2, seconds=75.0,
    seconds_per_step=0.5, curve=tuple((step, 0.3 - step / 1000, 0.31 - step / 1000) for step in range(1, 41)),
    samples=((0, "a tealish cat", Path("/s/0.png")), (20, "a tealish cat", Path("/s/20.png")), (20, "b", Path("/s/b 20.png"))),
    log=("started", "went on"), version=5,
)  # fmt: skip


class Balanced(HTMLParser):
    """Fails on a tag that is not closed in order; collects the text."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.tags = [], "", []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in ("img", "br", "line"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + " "


def read(html):
    parser = Balanced()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser


def test_before_the_first_run_it_says_what_will_be_here():
    page = read(progress_html(JobView()))
    assert "Ready" in page.text
    assert "svg" not in page.tags


def test_a_running_job_shows_step_loss_speed_time_and_log():
    page = read(progress_html(RUNNING))
    for words in ("Training", "tealish", "step 40 of 200", "0.1234", "0.2", "2.00 it/s", "1:15", "1:20", "went on"):
        assert words in page.text, words
    assert "svg" in page.tags
    assert "width:20.0%" in progress_html(RUNNING)


def test_before_the_first_step_the_bar_is_the_phases():
    view = JobView(id="a", state="running", phase="caching", phase_done=3, phase_of=12, of=200)
    assert "Encoding the images, 3 of 12" in progress_html(view)
    assert "width:25.0%" in progress_html(view)


def test_the_newest_samples_come_first_and_their_addresses_are_quoted():
    html = progress_html(RUNNING)
    addresses = re.findall(r'src="([^"]+)"', html)
    assert addresses == [
        "pivotal/v1/file?path=%2Fs%2F20.png&amp;step=20",
        "pivotal/v1/file?path=%2Fs%2Fb%2020.png&amp;step=20",
        "pivotal/v1/file?path=%2Fs%2F0.png&amp;step=0",
    ]
    assert "before training" in html


@pytest.mark.parametrize(
    ("state", "word"), [("stopping", "Stopping"), ("finished", "Finished"), ("stopped", "Stopped"), ("failed", "Failed")]
)
def test_each_state_has_its_word(state, word):
    assert word in read(progress_html(replace(RUNNING, state=state, phase=""))).text


def test_a_finished_job_shows_its_files_with_the_word_to_use():
    html = progress_html(replace(RUNNING, state="finished", files=(Path("/data/embeddings/tealish.safetensors"),)))
    assert '<b class="pivotal-word">tealish</b>' in html
    assert "/data/embeddings/tealish.safetensors" in html
    assert "it/s" not in html


def test_a_failed_job_shows_its_message_and_each_problem_by_the_options_name():
    view = replace(RUNNING, state="failed", message="no room\nat all", problems={"dataset.folder": "is empty", "": "the rest"})
    page = read(progress_html(view, lambda key: f"<{key}>"))
    assert "no room" in page.text
    assert "<dataset.folder> : is empty" in page.text
    assert "the rest" in page.text


def test_nothing_that_a_user_wrote_becomes_markup():
    evil = '<script>alert("x")</script>'
    view = replace(RUNNING, name=evil, message=evil, log=(evil,), samples=((1, evil, Path(f"/s/{evil}.png")),),
                   files=(Path(f"/{evil}.safetensors"),), state="failed", problems={evil: evil}, phase=evil)  # fmt: skip
    page = read(progress_html(view))
    assert "script" not in page.tags
    assert 'alert("x")' in page.text


def test_a_loss_that_is_no_number_leaves_the_chart_whole():
    curve = (*RUNNING.curve, (41, math.nan, math.nan), (42, math.inf, 0.2))
    assert "nan" not in loss_chart(curve) and "inf" not in loss_chart(curve)
    assert loss_chart(((1, math.nan, math.nan),)) == ""
    assert "nan" in progress_html(replace(RUNNING, loss=math.nan))


@pytest.mark.parametrize("values", [(0.0, 0.0), (1.0, 1.0), (1e-9, 2e-9), (0.1, 1e6), (-3.0, -1.0)])
def test_the_charts_axis_has_round_marks_inside_the_picture(values):
    html = loss_chart(tuple((step, value, value) for step, value in enumerate(values, 1)))
    heights = [float(y) for y in re.findall(r'y1="([\d.-]+)"', html)]
    assert 2 <= len(heights) <= 7
    assert all(0 <= height <= 200 for height in heights)


def test_measured_errors_are_a_line_of_the_chart_and_hard_images_a_list():
    points = tuple((step, 0.1, 0.1) for step in (5, 10))
    view = JobView(state="running", curve=points, measured=((0, 0.3), (10, 0.2)), held_out=True, best_step=10,
                   hardest=(ImageLoss(Path("<a>.png"), 4, 0.3, 1.75), ImageLoss(Path("b.png"), 3, 0.2, 1.5)))
    text = progress_html(view)
    (line,) = re.findall(r'class="pivotal-measured" points="([^"]*)"', text)
    (left, high), (right, low) = ([float(number) for number in point.split(",")] for point in line.split())
    assert left < right and high < low  # falls: down is a larger number
    assert "on held-out images, best at step 10" in text and "&lt;a&gt;.png</code> 1.75 times the usual loss" in text
    assert "pivotal-measured" not in progress_html(JobView(state="running", curve=points))


def test_versions_tell_runs_and_events_apart():
    versions = {view_version(view) for view in (JobView(), RUNNING, replace(RUNNING, version=6), replace(RUNNING, id="b"))}
    assert len(versions) == 4


def test_durations():
    assert [duration(seconds) for seconds in (0, 59.9, 75, 3700)] == ["0:00", "0:59", "1:15", "1:01:40"]


def test_the_plan_is_told_with_its_sources_and_sizes_folded():
    concepts = (PlannedConcept("<cats>", "training", 4, 4.0), PlannedConcept("dogs", "regularization", 9, 4.0))
    plan = Planned(13, concepts, (PlannedBucket((64, 128), 13, 0.25),), 8.0, 2.0, 4, 1, 10, 5.0, 40)
    html = progress_html(replace(RUNNING, plan=plan))
    text = read(html).text
    assert "8 images an epoch / batch 4 / accumulation 1 = 2 steps an epoch; 10 steps are 5 epochs" in text
    assert "<cats>: 4 images" in text and "dogs (regularization): 9 images, 4 an epoch" in text
    assert "13 of 128x64 (25 % cut off)" in text and "<cats>" not in html
    assert "steps an epoch" not in progress_html(RUNNING)
