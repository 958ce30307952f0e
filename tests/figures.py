"""The README's table of what was tried, from reports of the runs that tried it; no number in it is typed.

    python3 install.py test --full                  runs all sweeps, and then this with its report
    python tests/figures.py [REPORT.xml ...] [--host "WEBUI, FAMILY" REPORT.xml ...]

A report is pytest's (--junitxml). What the sweeps of one counted, or the contract suite on a real WebUI (tests/host), takes the
place of what tests/figures.json had of it; the rest stays. The README is then written from tests/figures.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
KEPT, README = ROOT / "tests" / "figures.json", ROOT / "README.md"
BEGIN, END = "<!-- figures: written by tests/figures.py -->\n", "<!-- end of the figures -->\n"
RESUMED = {"test_every_feature_resumes_to_the_byte": "features", "test_features_together_resume_to_the_byte": "pairs",
           "test_a_new_process_goes_on_to_the_byte": "processes"}
BACK = "test_the_host_is_handed_back_to_the_bit"

Figures = dict[str, Any]
Row = tuple[str, str, str]


class ReportError(Exception):
    """A report that says nothing to be proud of."""


def cases(reports: list[Path]) -> dict[str, ElementTree.Element]:
    """Each test as the last of the reports has it, by its name, but for those that were skipped in it.

    Raises:
        ReportError: one failed, and did not pass later.
    """
    last = {f"{case.get('classname')}.{case.get('name')}": case
            for report in reports for case in ElementTree.parse(report).iter("testcase")}
    if bad := [name for name, case in last.items() if case.find("failure") is not None or case.find("error") is not None]:
        raise ReportError(f"{', '.join(map(str, reports))}: {', '.join(bad)} failed; nothing is written.")
    return last


def counted(reports: list[Path]) -> Figures:
    """What the sweeps of reports say of themselves, and how many cases there were of those that are tests one by one."""
    found: Figures = {}
    resumed, back = Counter(), []
    for case in cases(reports).values():
        name, _, parameters = case.get("name", "").partition("[")
        if case.find("skipped") is None:
            resumed[RESUMED.get(name, "")] += 1
            back += [parameters.removesuffix("]").partition("-")] if name == BACK else []
        for told in case.iter("property"):
            if told.get("name", "").startswith("figures."):
                found[told.get("name", "").removeprefix("figures.")] = json.loads(told.get("value", ""))
    if all(resumed[kind] for kind in RESUMED.values()):
        found["resumed"] = {kind: resumed[kind] for kind in RESUMED.values()}
    if back:
        found["handed back"] = {"cases": len(back), "hosts": sorted({host for host, _, _ in back}),
                                "endings": sorted({ending for _, _, ending in back})}
    return found


def of_host(reports: list[Path]) -> dict[str, int]:
    """How many tests of the contract suite passed and were skipped on a WebUI."""
    found = cases(reports).values()
    skipped = sum(case.find("skipped") is not None for case in found)
    return {"passed": len(found) - skipped, "skipped": skipped}


def rows(figures: Figures) -> Iterator[Row]:
    """What was done, how often, and what came of it."""
    told = (("resumed", of_resumed), ("seeded", of_seeded), ("kills", of_kills), ("kills", of_room), ("handed back", of_back),
            ("fuzz", of_fuzz))
    yield from (words(figures[name]) for name, words in told if name in figures)
    for host, of in sorted(figures.get("contract", {}).items()):
        yield "The contract suite on a real WebUI", host, f"{of['passed']} passed, {of['skipped']} skipped"


def of_resumed(of: Figures) -> Row:
    often = (f"{sum(of.values())}: {of['features']} of a kind of run and a feature, {of['pairs']} of two features, "
             f"{of['processes']} resumed in another process")
    return ("Stopped at some step, resumed, and compared with the run that was not stopped", often,
            "every file the same, byte for byte")


def of_seeded(of: Figures) -> Row:
    return ("The same recipe again, and with one option changed", f"{of['changed'] + of['same']} options",
            f"twice the same file; each of {of['changed']} that count makes another one, none of {of['same']} does "
            "that only show, keep or compute otherwise")


def of_kills(of: Figures) -> Row:
    disks = (("as it is", "as it is"), ("slow", "that is slow"), ("full", "that fills up"))
    often = (f"{of['killed']} kills in {of['trials']} runs: "
             + ", ".join(f"{of[f'killed, {kind}']} on a disk {words}" for kind, words in disks)
             + f"; {of['while writing']} while a file was written")
    outcome = (f"{of['files looked at']} files looked at, each whole, an old one or the new one; {of['with a state']} states and "
               f"{of['queues opened']} queues read; the result is that of the unbroken run; no temporary file stays")
    return "Killed (SIGKILL) at a random moment, and resumed", often, outcome


def of_room(of: Figures) -> Row:
    return ("A disk that fills up, and gets room after a while", f"{of['room made']} runs",
            "the same bytes, at once or resumed; a run that ends for want of room says so")


def of_back(of: Figures) -> Row:
    often = (f"{of['cases']}: {len(of['endings'])} ends ({', '.join(of['endings'])}) on {len(of['hosts'])} hosts, the embedded "
             "one and stand-ins of the WebUIs")
    return "Tensors, flags, hooks, dice and an image of the host, before and after a run", often, "the same, bit for bit"


def of_fuzz(of: Figures) -> Row:
    kinds: dict[str, list[int]] = of["kinds"]  # read, refused
    often = f"{sum(map(sum, kinds.values())):,}, as many of each of {len(kinds)} kinds: {', '.join(kinds)}"
    read, refused = (sum(each[index] for each in kinds.values()) for index in (0, 1))
    outcome = (f"{read:,} read, {refused:,} refused in words; no crash, no code run, nothing written elsewhere; "
               f"{of['slowest']:.1f} s at most, {of['memory']} MB in all")
    return "Damaged and hostile files and requests", often, outcome


def table(figures: Figures) -> str:
    """The rows as Markdown."""
    lines = ["| What was done | How often | What came of it |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows(figures))]) + "\n"


def parts(readme: str) -> tuple[str, str, str]:
    """What stands before, between and after the marks, which belong to the outer ones."""
    before, begin, rest = readme.partition(BEGIN)
    within, end, after = rest.partition(END)
    if not begin or not end:
        raise ReportError(f"README.md lacks the line {BEGIN if not begin else END!r}.")
    return before + begin, within, end + after


def main(arguments: list[str]) -> int:
    """Takes the reports in and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="*", type=Path)
    parser.add_argument("--host", nargs="+", action="append", default=[], metavar=("WEBUI", "REPORT"),
                        help="of a test that was run again, the last report counts")
    options = parser.parse_args(arguments)
    figures: Figures = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}
    figures |= counted(options.reports)
    for title, *reports in options.host:
        figures["contract"] = figures.get("contract", {}) | {title: of_host([Path(report) for report in reports])}
    before, _, after = parts(README.read_text("utf-8"))
    kept = json.dumps(figures, indent=1, sort_keys=True) + "\n"
    KEPT.write_text(kept, "utf-8")
    README.write_text(before + table(json.loads(kept)) + after, "utf-8")  # in the order of the file, not of the reports
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (ReportError, OSError, ElementTree.ParseError) as problem:
        print(f"figures: {problem}", file=sys.stderr)
        sys.exit(1)
