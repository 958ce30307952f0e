"""The script that has the host's own progress bar follow a run, on a page with that host's function and address alone."""

from pathlib import Path

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.once]
SCRIPT = Path(__file__).resolve().parents[2] / "javascript" / "pivotal_host_progress.js"
PAGE = """<div data-pivotal-task="task(pivotal)"></div><div id="pivotal_page" data-pivotal-state="running"></div>
<div id="txt2img_gallery_container"></div>
<script>var opts = {};
window.bars = []; window.requestProgress = (task, place, gallery, atEnd) => window.bars.push([task, place.id, atEnd]);
</script>"""


def test_the_hosts_bar_is_asked_for_only_while_its_task_goes_on_and_again_after_it_was_taken_away(open_page):
    page, asked, told = open_page(), [], {"active": False}

    def answer(route):
        asked.append(route.request.post_data_json)
        route.fulfill(json=told)

    page.route("http://webui.test/", lambda route: route.fulfill(content_type="text/html", body=PAGE))
    page.route("http://webui.test/internal/progress", answer)
    page.goto("http://webui.test/")
    page.evaluate("window.setInterval = (work) => { window.tick = work; }")
    page.evaluate(SCRIPT.read_text("utf-8"))

    def bars(ticks=1):
        for _ in range(ticks):
            page.evaluate("window.tick()")
        return page.evaluate("window.bars.length")

    assert bars() == 0 and not asked, "the host's settings are not there yet: its bar would be hidden"
    page.evaluate("opts.live_preview_refresh_period = 500")
    assert bars() == 0, "it has not begun yet"
    assert asked == [{"id_task": "task(pivotal)", "id_live_preview": -1}]
    told["active"] = True
    assert bars(ticks=2) == 1
    assert page.evaluate("window.bars[0].slice(0, 2)") == ["task(pivotal)", "txt2img_gallery_container"]
    page.evaluate("window.bars[0][2]()")  # a prompt that was let through ended it
    assert bars() == 2
    told["active"] = False
    page.evaluate("window.bars[1][2]()")  # the run is over; the page has not heard of it yet
    assert bars() == 2
    page.unroute("http://webui.test/internal/progress")
    page.route("http://webui.test/internal/progress", lambda route: route.abort())
    assert bars() == 2
    page.evaluate("document.getElementById('pivotal_page').dataset.pivotalState = 'stopped'")
    before = len(asked)
    assert bars() == 2 and len(asked) == before
