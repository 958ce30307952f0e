"""A run's progress as HTML, from a snapshot of its facts.

The fragment's top elements each bear a name, so that the page's script replaces only those that changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from urllib.parse import quote

from pivotal.jobs.plan_words import bucket_words, concept_words, plan_sentence
from pivotal.jobs.view import JobView
from pivotal.ui.chart import loss_chart

FILE_ADDRESS = "pivotal/v1/file"  # of the API, relative to the page

_STATES = {"idle": "Ready", "running": "Training", "stopping": "Stopping", "finished": "Finished",
           "stopped": "Stopped", "failed": "Failed"}
_PHASES = {"waiting": "Waiting for the host to be free", "loading": "Loading the checkpoint",
           "dataset": "Reading the dataset", "caching": "Encoding the images", "training": "Training",
           "sampling": "Drawing samples", "saving": "Saving"}


def progress_html(view: JobView, label: Callable[[str], str] = str) -> str:
    """`view` as a fragment; `label` gives the page's name of an option."""
    pieces = [_part("head", _head(view), state=view.state), _part("problems", _problems(view, label))]
    if view.state != "idle":
        pieces += [_part("plan", _plan(view)), _part("chart", _chart(view)), _part("files", _files(view)),
                   _part("samples", _samples(view)), _part("log", _log(view))]
    return "".join(pieces)


def view_version(view: JobView) -> str:
    """Changes whenever the fragment may have; also when the process, and its counting, starts anew."""
    return f"{view.id}:{view.version}"


def duration(seconds: float) -> str:
    """75 as ``1:15``, 3700 as ``1:01:40``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _part(name: str, inner: str, state: str = "") -> str:
    extra = f' data-state="{state}"' if state else ""
    return f'<div class="pivotal-part pivotal-part-{name}" data-part="{name}"{extra}>{inner}</div>'


def _head(view: JobView) -> str:
    if view.state == "idle":
        return ('<div class="pivotal-state">Ready</div><div class="pivotal-note">Progress, samples and the finished '
                "files appear here. You may close the page: the run goes on, and is here when you come back.</div>")
    done, of = _progress(view)
    share = 100 * done / of if of else 0
    return (f'<div class="pivotal-state"><span class="pivotal-badge pivotal-{view.state}">{_STATES[view.state]}</span>'
            f'<span class="pivotal-name">{escape(view.name)}</span></div>'
            f'<div class="pivotal-bar" role="progressbar" aria-valuenow="{share:.0f}" aria-valuemin="0" '
            f'aria-valuemax="100"><div style="width:{share:.1f}%"></div></div>'
            f'<div class="pivotal-line"><span class="pivotal-phase">{escape(_phase(view))}</span>'
            f'<span>{"".join(_numbers(view))}</span></div>{_message(view)}')


def _progress(view: JobView) -> tuple[int, int]:
    """How much is done of how much: steps, or what the phase before the first step counts."""
    if view.step == 0 and view.phase_of and view.phase != "training":
        return view.phase_done, view.phase_of
    return view.step, view.of


def _phase(view: JobView) -> str:
    steps = f"step {view.step} of {view.of}" if view.of else ""
    if view.state not in ("running", "stopping"):
        return steps
    words = _PHASES.get(view.phase, view.phase or "Starting")
    if view.phase == "training":
        return steps or words
    counted = f"{words}, {view.phase_done} of {view.phase_of}" if view.phase_of else words
    return f"{counted} ({steps})" if view.step else counted


def _numbers(view: JobView) -> list[str]:
    facts = []
    if view.loss is not None:
        smooth = f" (smoothed {view.smooth_loss:.4g})" if view.smooth_loss is not None else ""
        facts.append(("loss", f"{view.loss:.4g}{smooth}"))
    if view.steps_per_second and view.state in ("running", "stopping"):
        rate = view.steps_per_second
        facts.append(("speed", f"{rate:.2f} it/s" if rate >= 1 else f"{1 / rate:.2f} s/it"))
    if view.seconds:
        facts.append(("time", duration(view.seconds)))
    if view.seconds_left is not None and view.state == "running":
        facts.append(("left", duration(view.seconds_left)))
    return [f'<span class="pivotal-fact"><b>{name}</b> {escape(text)}</span>' for name, text in facts]


def _message(view: JobView) -> str:
    if not view.message:
        return ""
    kind = "pivotal-error" if view.state == "failed" else "pivotal-note"
    return f'<div class="{kind}">{escape(view.message).replace(chr(10), "<br>")}</div>'


def _problems(view: JobView, label: Callable[[str], str]) -> str:
    return problem_list(view.problems, label) if view.state == "failed" else ""


def problem_list(problems: Mapping[str, str], label: Callable[[str], str]) -> str:
    """Each problem with the name of its option."""
    if not problems:
        return ""
    lines = [f"<li>{f'<b>{escape(label(key))}</b>: ' if key else ''}{escape(text)}</li>"
             for key, text in problems.items()]
    return f'<ul class="pivotal-problem-list">{"".join(lines)}</ul>'


def _plan(view: JobView) -> str:
    """The sum of images, batches and steps; sources and sizes where there is more than one."""
    plan = view.plan
    if plan is None:
        return ""
    more = [concept_words(concept) for concept in plan.concepts] if len(plan.concepts) > 1 else []
    more += [bucket_words(bucket) for bucket in plan.buckets]
    lines = "".join(f"<li>{escape(line)}</li>" for line in more)
    folded = _folded("Sources and sizes", lines) if len(more) > 1 else ""
    return f'<div class="pivotal-note">{escape(plan_sentence(plan))}</div>{folded}'


def _folded(title: str, lines: str) -> str:
    return f'<details class="pivotal-fold"><summary>{title}</summary><ul>{lines}</ul></details>'


def _chart(view: JobView) -> str:
    chart = loss_chart(view.curve, view.measured)
    if not chart:
        return ""
    return ('<div class="pivotal-title">Loss <span class="pivotal-key-raw">each step</span> '
            f'<span class="pivotal-key-smooth">smoothed</span>{_measured_key(view)}</div>{chart}{_hardest(view)}')


def _measured_key(view: JobView) -> str:
    if not view.measured:
        return ""
    words = "on held-out images" if view.held_out else "measured"
    best = "" if view.best_step is None else f", best at step {view.best_step}"
    return f' <span class="pivotal-key-measured">{words}{best}</span>'


def _hardest(view: JobView) -> str:
    """The images with the highest loss; that is where captions or pictures may be wrong."""
    if len(view.hardest) < 2:
        return ""
    lines = "".join(f"<li><code>{escape(image.path.name)}</code> {image.relative:.2f} times the usual loss, seen "
                    f"{image.times} times</li>" for image in view.hardest)
    return _folded("Hardest images", lines)


def _files(view: JobView) -> str:
    if not view.files:
        return ""
    rows = "".join(f'<li><b class="pivotal-word">{escape(view.prompts.get(str(path), path.stem))}</b> '
                   f"<code>{escape(str(path))}</code></li>" for path in view.files)
    return ('<div class="pivotal-title">Written: use the bold text in your prompts</div>'
            f'<ul class="pivotal-files">{rows}</ul>')


def _samples(view: JobView) -> str:
    """The newest images large, then all of them: a line for each step, a column for each prompt."""
    if not view.samples:
        return ""
    by_step: dict[int, list[tuple[str, Path]]] = {}
    for step, prompt, path in view.samples:
        by_step.setdefault(step, []).append((prompt, path))
    newest, *older = sorted(by_step, reverse=True)
    large = "".join(f"<figure>{_image(path, newest, prompt)}<figcaption>{escape(prompt)}</figcaption></figure>"
                    for prompt, path in by_step[newest])
    lines = "".join(f'<div class="pivotal-sample-line"><span>{_step_words(step)}</span>'
                    + "".join(_image(path, step, prompt) for prompt, path in by_step[step]) + "</div>"
                    for step in older)
    return (f'<div class="pivotal-title">Samples, {_step_words(newest)}</div>'
            f'<div class="pivotal-newest">{large}</div>{lines}')


def _step_words(step: int) -> str:
    return f"step {step}" if step else "before training"


def _image(path: Path, step: int, prompt: str) -> str:
    # The step stands in the address so that a browser may keep the image, and does not show an older one.
    address = f"{FILE_ADDRESS}?path={quote(str(path), safe='')}&amp;step={step}"
    words = escape(prompt, quote=True)
    return f'<a href="{address}" target="_blank" rel="noopener"><img src="{address}" alt="{words}" title="{words}"></a>'


def _log(view: JobView) -> str:
    if not view.log:
        return ""
    lines = escape("\n".join(view.log[-30:]))
    return f'<div class="pivotal-title">Log</div><pre class="pivotal-log">{lines}</pre>'
