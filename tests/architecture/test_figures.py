"""The README's table of what was tried is the one that its kept figures make, and they come from reports."""

import json

import pytest

import figures

pytestmark = pytest.mark.once  # no package of an environment has a part in it

REPORT = """<testsuites><testsuite>
<testcase classname="tests.recipe.test_exactness" name="test_every_feature_resumes_to_the_byte[LoRA-EMA]"/>
<testcase classname="tests.recipe.test_exactness" name="test_every_feature_resumes_to_the_byte[both-EMA]"/>
<testcase classname="tests.recipe.test_exactness" name="test_features_together_resume_to_the_byte[a-b-c]"/>
<testcase classname="tests.recipe.test_exactness" name="test_a_new_process_goes_on_to_the_byte[LoRA-d]"/>
<testcase classname="tests.contract.test_handed_back" name="test_the_host_is_handed_back_to_the_bit[forge-out of memory]"/>
<testcase classname="tests.contract.test_handed_back" name="test_the_host_is_handed_back_to_the_bit[a1111-stopped]"/>
<testcase classname="a" name="b"><properties>
<property name="figures.seeded" value="{&quot;changed&quot;: 3, &quot;same&quot;: 2}"/></properties></testcase>
<testcase classname="a" name="c"><skipped/></testcase>
</testsuite></testsuites>"""


def test_the_readme_has_what_was_counted():
    kept = json.loads(figures.KEPT.read_text("utf-8"))
    assert figures.parts(figures.README.read_text("utf-8"))[1] == figures.table(kept)


def test_a_report_is_counted(tmp_path):
    report = tmp_path / "report.xml"
    report.write_text(REPORT, "utf-8")
    found = figures.counted([report])
    assert found == {"resumed": {"features": 2, "pairs": 1, "processes": 1}, "seeded": {"changed": 3, "same": 2},
                     "handed back": {"cases": 2, "hosts": ["a1111", "forge"], "endings": ["out of memory", "stopped"]}}
    again = tmp_path / "again.xml"
    again.write_text('<testsuites><testcase classname="a" name="c"/></testsuites>', "utf-8")
    assert figures.of_host([report]) == {"passed": 7, "skipped": 1}
    assert figures.of_host([report, again]) == {"passed": 8, "skipped": 0}
    assert [row[1].partition(":")[0] for row in figures.rows(found)] == ["4", "5 options", "2"]


def test_a_report_with_a_failure_is_refused(tmp_path):
    report = tmp_path / "report.xml"
    report.write_text(REPORT.replace("<skipped/>", "<failure/>"), "utf-8")
    with pytest.raises(figures.ReportError, match=r"a\.c failed"):
        figures.counted([report])
    with pytest.raises(figures.ReportError, match=r"a\.c failed"):
        figures.of_host([report])
