"""A run's snapshot as HTML: what stands there in each state, and that nothing in it is taken for markup."""

import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pivotal.events import ImageLoss, Planned, PlannedBucket, PlannedConcept, VectorTold
from pivotal.jobs.watch.view import JobView, Notice
from pivotal.ui.chart import bars_chart, loss_chart, parts_chart
from pivotal.ui.progress import duration, progress_html, view_version
from pivotal.ui.samples import MORE, ROWS, samples_html, samples_version

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
        if tag not in ("img", "br", "line", "input"):
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
    assert "<span>Encoding the images</span><span>, 3 of 12</span>" in progress_html(view)  # words that a host can translate
    assert "width:25.0%" in progress_html(view)


@pytest.mark.parametrize(
    ("state", "word"), [("stopping", "Stopping"), ("finished", "Finished"), ("stopped", "Stopped"), ("failed", "Failed"),
                        ("pausing", "Pausing"), ("paused", "Paused")]
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
    vector = VectorTold(evil, evil, 1, 0.4, 1.0, 0.1, ((evil, 0.5),), True)
    view = replace(RUNNING, id=evil, name=evil, message=evil, log=(evil,), samples=((1, evil, Path(f"/s/{evil}.png")),) * 2,
                   files=(Path(f"/{evil}.safetensors"),), state="failed", problems={evil: evil}, phase=evil,
                   notices=(Notice(evil, evil, 2),), vectors=(vector, replace(vector, encoder="b")),
                   rate_curve=((1, {evil: 1.0}), (2, {evil: 2.0})), by_timestep={evil: 1.0})  # fmt: skip
    page = read(progress_html(view) + samples_html(view, {}))
    assert "script" not in page.tags
    assert 'alert("x")' in page.text


def test_a_loss_that_is_no_number_leaves_the_chart_whole():
    curve = (*RUNNING.curve, (41, math.nan, math.nan), (42, math.inf, 0.2))
    assert not re.search(r"\b(nan|inf)\b", loss_chart(curve))
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
    (line,) = re.findall(r'class="pivotal-measured" data-name="measured" points="([^"]*)"', text)
    (left, high), (right, low) = ([float(number) for number in point.split(",")] for point in line.split())
    assert left < right and high < low  # falls: down is a larger number
    assert "on held-out images, best at step 10" in text and "&lt;a&gt;.png</code> 1.75 times the usual loss" in text
    assert "pivotal-measured" not in progress_html(JobView(state="running", curve=points))


def values_of(chart, name):
    """Reads the values of a line back from its points and the axes, as the page's script does."""
    left, top, right, bottom = map(float, re.search(r'data-box="([^"]*)"', chart)[1].split())
    low, high = (float(re.search(rf'data-{end}="([^"]*)"', chart)[1]) for end in ("low", "high"))
    last = int(re.search(r'data-steps="(\d+)"', chart)[1])
    points = re.search(rf'data-name="{name}" points="([^"]*)"', chart)[1].split()
    found = [[float(number) for number in point.split(",")] for point in points]
    heights = [high - (y - top) * (high - low) / (bottom - top) for _, y in found]
    return [(round((x - left) * last / (right - left)), 10**at if "data-log" in chart else at)
            for (x, _), at in zip(found, heights, strict=True)]


@pytest.mark.parametrize("log", [False, True])
def test_the_charts_points_and_axes_give_its_values_back(log):
    curve = [(step, 0.5 / step + 0.001, 0.4 / step) for step in (1, 10, 50, 100)]
    chart = loss_chart(curve, log=log)
    for (step, loss, _), (at, value) in zip(curve, values_of(chart, "loss"), strict=True):
        assert at == step and value == pytest.approx(loss, rel=0.02 if log else 1, abs=1 if log else 2e-3)


def test_a_logarithmic_axis_leaves_out_what_is_not_above_zero_and_has_round_marks():
    chart = loss_chart([(1, 1.0, 1.0), (2, 0.0, 0.1), (3, 0.01, 0.01)], log=True)
    assert [step for step, _ in values_of(chart, "loss")] == [1, 3]
    marks = re.findall(r'text-anchor="end">([^<]+)<', chart)[:-1]
    assert {"0.01", "0.1", "1"} <= set(marks)
    for pair in ((1.0, 1.6), (0.1, 0.1), (1e-7, 3e5)):
        html = loss_chart([(1, pair[0], pair[0]), (2, pair[1], pair[1])], log=True)
        heights = [float(y) for y in re.findall(r'y1="([\d.-]+)"', html)]
        assert 2 <= len(heights) <= 8 and all(0 <= height <= 200 for height in heights), (pair, heights)
    assert "data-log" in progress_html(RUNNING, query={"log": "1"}) and "data-log" not in progress_html(RUNNING)


def test_rates_and_timesteps_are_drawn_with_their_names():
    chart = parts_chart(((1, {"zk": 0.1, "unet": 0.2}), (2, {"zk": 0.1, "unet": 0.1})), "rates")
    assert chart.count("<polyline") == 2 and "zk</span>" in chart and 'aria-label="rates"' in chart
    assert parts_chart(((1, {"zk": 0.1}),), "rates") == "" and bars_chart({}, "x") == "" == bars_chart({"0": 0.0}, "x")
    bars = bars_chart({"0": 0.5, "100": 0.25}, "x")
    assert "<title>100: 0.25</title>" in bars
    heights = [float(height) for height in re.findall(r'height="([\d.]+)"/>', bars)]
    assert heights[0] == 2 * heights[1]


@pytest.mark.parametrize(("state", "on"), [
    ("running", {"pivotal_pause", "pivotal_stop", "pivotal_discard", "pivotal_sample_now", "pivotal_save_now"}),
    ("pausing", {"pivotal_pause", "pivotal_stop", "pivotal_discard"}),
    ("paused", {"pivotal_pause", "pivotal_stop", "pivotal_discard"}), ("stopping", {"pivotal_discard"})])
def test_the_buttons_that_would_do_something_can_be_pressed(state, on):
    html = progress_html(replace(RUNNING, state=state))
    buttons = re.findall(r'<button[^>]*id="(\w+)"([^>]*)>([^<]*)<', html)
    assert {name for name, rest, _ in buttons if not rest.endswith(" disabled")} == on and len(buttons) == 5
    assert {name: text for name, _, text in buttons}["pivotal_pause"] == ("Resume" if "paus" in state else "Pause")
    discard = next(rest for name, rest, _ in buttons if name == "pivotal_discard")
    assert "{&quot;keep&quot;: false}" in discard and "data-pivotal-confirm" in discard
    assert "<button" not in progress_html(replace(RUNNING, state="finished"))


def test_samples_are_a_grid_of_steps_and_prompts():
    html = samples_html(RUNNING, {})
    assert re.findall(r'href="pivotal/v1/job/samples/(\d+)', html) == ["1", "2", "0"]  # the newest step first
    assert re.findall(r'<figure data-step="(\d+)" data-column="(\d+)">', html) == [("20", "0"), ("20", "1")]
    assert re.findall(r'<th scope="col" data-column="(\d+)" title="([^"]*)"', html) == [("0", "a tealish cat"), ("1", "b")]
    assert 'alt="before training, prompt 1" loading="lazy"></a></td><td></td></tr>' in html
    assert "before training" in html and 'src="pivotal/v1/job/samples/1?run=job&amp;small=256"' in html
    one = samples_html(RUNNING, {"prompt": "1"})
    assert re.findall(r'href="pivotal/v1/job/samples/(\d+)', one) == ["2"] and '<option value="1" selected>b</option>' in one
    for wrong in ("7", "x", "-1", "9" * 50):
        assert samples_html(RUNNING, {"prompt": wrong}) == html
    assert samples_html(JobView(), {}) == "" and samples_version(RUNNING) != samples_version(replace(RUNNING, samples=()))


def test_several_images_of_a_prompt_have_a_column_each():
    view = replace(RUNNING, samples=tuple((step, "cat", Path(f"{step}{image}")) for step in (0, 5) for image in "ab"))
    html = samples_html(view, {})
    assert re.findall(r'href="pivotal/v1/job/samples/(\d+)', html) == ["2", "3", "0", "1"]
    assert html.count('<th scope="col"') == 2


def test_a_run_of_100_000_steps_and_1000_samples_stays_small():
    """Bytes of what the page gets: each second, when there is a sample, and when every one is asked for."""
    curve = tuple((step, 0.1 + (step * 7919 % 1000) / 1000, 0.3) for step in range(250, 100_001, 250))
    rates = tuple((step, {"zkteal": 1e-4, "unet": 1e-4, "text_encoder_1": 5e-5}) for step in range(500, 100_001, 500))
    vectors = tuple(VectorTold("zkteal", "clip_l", index, 0.41234, 1.0123, 0.1234, (("word", 0.5),) * 3, True)
                    for index in range(1, 17))
    prompts = [f"a zkteal cat number {index} sitting on a mat in front of a house, oil on canvas" for index in range(5)]
    samples = tuple((step, prompt, Path(f"/data/pivotal/runs/run/samples/step-{step:06d}-1.png"))
                    for step in range(0, 100_000, 500) for prompt in prompts)
    view = replace(RUNNING, id="0123456789ab", step=100_000, of=100_000, curve=curve, rate_curve=rates,
                   estimate_curve=rates, vectors=vectors, by_timestep={str(at): 0.1 for at in range(0, 1000, 100)},
                   samples=samples, log=("x" * 100,) * 30)
    each, new, all_of_them = (len(html.encode()) for html in (
        progress_html(view), samples_html(view, {}), samples_html(view, {"rows": "300"})))
    assert each < 60_000 and new < 20_000 and all_of_them < 200_000, (each, new, all_of_them)
    assert len(samples) == 1000 and samples_html(view, {"rows": "300"}).count("<img") == 1000
    assert samples_html(view, {}).count("<img") == 5 * (ROWS + 1)
    assert f'value="{ROWS + MORE}">Show 100 more of 199 steps' in samples_html(view, {})
    assert samples_html(view, {"rows": "300"}).count('loading="lazy"') == 995
    assert samples_html(view, {"rows": "x"}) == samples_html(view, {})


def test_notices_are_listed_with_the_options_name_and_their_count():
    view = replace(RUNNING, notices=(Notice("seed", "odd", 3), Notice("name", "<b>")))
    page = read(progress_html(view, lambda key: f"<{key}>"))
    text = " ".join(page.text.split())
    assert "Notices (2)" in text and "<seed> : odd (3 times)" in text
    assert "<b>" not in page.tags and "Notices" not in progress_html(RUNNING)


def test_a_vector_far_longer_than_a_token_is_marked():
    vector = VectorTold("zk", "clip_l", 1, 0.41, 1.02, 0.123, (("cat", 0.51), ("ca-", 0.4)), True)
    html = progress_html(replace(RUNNING, vectors=(vector, replace(vector, number=2, relative=3.4)), vectors_step=40))
    text = " ".join(read(html).text.split())
    assert "Vectors at step 40" in text and "zk 1 0.41 1x 0.123 cat 0.51 , ca- 0.40" in text
    assert html.count("pivotal-warned") == 1


def test_a_time_limited_run_shows_its_minutes():
    view = replace(RUNNING, minutes=5.0, seconds=150.0)
    assert "step 40 of 200, 2 of 5 minutes" in progress_html(view) and "width:50.0%" in progress_html(view)


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
