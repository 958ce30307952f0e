"""A run's progress as HTML, from a snapshot of its facts.

The fragment's top elements each bear a name, so that the page's script replaces only those that changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape

from pivotal.jobs.watch.plan_words import bucket_words, concept_words, plan_sentence
from pivotal.jobs.watch.view import JobView
from pivotal.ui.chart import bars_chart, loss_chart, parts_chart
from pivotal.ui.controls import controls_html
from pivotal.ui.vectors import vectors_html

Query = Mapping[str, str]

_STATES = {"idle": "Ready", "running": "Training", "pausing": "Pausing", "paused": "Paused", "stopping": "Stopping",
           "finished": "Finished", "stopped": "Stopped", "failed": "Failed"}
_PHASES = {"waiting": "Waiting for the host to be free", "loading": "Loading the checkpoint",
           "dataset": "Reading the dataset", "caching": "Encoding the images", "training": "Training",
           "sampling": "Drawing samples", "saving": "Saving"}


def progress_html(view: JobView, label: Callable[[str], str] = str, card: str = "", query: Query | None = None) -> str:
    """`view` as a fragment.

    Args:
        label: gives the page's name of an option.
        card: what came of the run (ui/result.py); it stands in place of the bare list of files.
        query: ``log`` draws the losses on a logarithmic axis.
    """
    pieces = [_part("head", _head(view), state=view.state), _part("controls", controls_html(view)),
              _part("problems", _problems(view, label))]
    if view.state != "idle":
        pieces += [_part("notices", _notices(view, label)), _part("result", card), _part("plan", _plan(view)),
                   _part("chart", _chart(view, bool((query or {}).get("log")))), _part("more", _more(view)),
                   _part("files", "" if card else _files(view)), _part("log", _log(view))]
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
    share = 100 * _share(view)
    phase = "".join(f"<span>{escape(part)}</span>" for part in _phase(view) if part)
    return (f'<div class="pivotal-state"><span class="pivotal-badge pivotal-{view.state}">{_STATES[view.state]}</span>'
            f'<span class="pivotal-name">{escape(view.name)}</span></div>'
            f'<div class="pivotal-bar" role="progressbar" aria-valuenow="{share:.0f}" aria-valuemin="0" '
            f'aria-valuemax="100"><div style="width:{share:.1f}%"></div></div>'
            f'<div class="pivotal-line"><span class="pivotal-phase">{phase}</span>'
            f'<span>{"".join(_numbers(view))}</span></div>{_message(view)}')


def _share(view: JobView) -> float:
    """How much is done, 0 to 1: of the run, or of what the phase before the first step counts."""
    if view.step == 0 and view.phase_of and view.phase != "training":
        return view.phase_done / view.phase_of
    return view.share


def _phase(view: JobView) -> tuple[str, str]:
    """What is done in words that are always the same, which a host can translate, and how far it is."""
    steps = f"step {view.step} of {view.of}" if view.of else ""
    if view.minutes:
        steps += f", {view.seconds / 60:.0f} of {view.minutes:g} minutes"
    if view.state == "paused":
        return "", f"{steps}; the model is the host's until you resume"
    if view.state not in ("running", "pausing", "stopping"):
        return "", steps
    words = _PHASES.get(view.phase, view.phase or "Starting")
    if view.phase == "training" and steps:
        return "", steps
    counted = f", {view.phase_done} of {view.phase_of}" if view.phase_of else ""
    return words, f"{counted} ({steps})" if view.step else counted


def _numbers(view: JobView) -> list[str]:
    facts = []
    if view.loss is not None:
        smooth = f" (smoothed {view.smooth_loss:.4g})" if view.smooth_loss is not None else ""
        facts.append(("loss", f"{view.loss:.4g}{smooth}"))
    if view.steps_per_second and view.state in ("running", "pausing", "stopping"):
        rate = view.steps_per_second
        facts.append(("speed", f"{rate:.2f} it/s" if rate >= 1 else f"{1 / rate:.2f} s/it"))
    if view.seconds:
        facts.append(("time", duration(view.seconds)))
    if view.seconds_left is not None and view.state in ("running", "pausing", "paused"):
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
    return f'<details class="pivotal-fold" data-fold="{title}"><summary>{title}</summary><ul>{lines}</ul></details>'


def _notices(view: JobView, label: Callable[[str], str]) -> str:
    """What the user should know, in one place: the log scrolls away."""
    if not view.notices:
        return ""
    lines = "".join(f"<li>{f'<b>{escape(label(notice.key))}</b>: ' if notice.key else ''}{escape(notice.text)}"
                    f"{f' <small>({notice.count} times)</small>' if notice.count > 1 else ''}</li>" for notice in view.notices)
    return (f'<details class="pivotal-fold pivotal-notices" data-fold="notices" open><summary>Notices'
            f"<span>({len(view.notices)})</span></summary><ul>{lines}</ul></details>")


def _chart(view: JobView, log: bool) -> str:
    chart = loss_chart(view.curve, view.measured, log=log) or '<div class="pivotal-chart pivotal-no-chart">No steps yet</div>'
    scale = (f'<label class="pivotal-scale"><input type="checkbox" data-pivotal-ask="log"{" checked" if log else ""}>log scale'
             "</label>")
    return ('<div class="pivotal-title">Loss <span class="pivotal-key-raw">each step</span> '
            f'<span class="pivotal-key-smooth">smoothed</span>{_measured_key(view)}{scale}</div>{chart}')


def _more(view: JobView) -> str:
    """What not everybody needs, each folded."""
    drawn = {"Learning rates": parts_chart(view.rate_curve, "learning rate of each part over steps"),
             "Rates that the optimizer has found": parts_chart(view.estimate_curve, "estimated rate over steps", log=True),
             "Loss by timestep": bars_chart(view.by_timestep, "mean loss in each band of timesteps, from clean to noise")}
    folds = "".join(f'<details class="pivotal-fold" data-fold="{title}"><summary>{title}</summary>{chart}</details>'
                    for title, chart in drawn.items() if chart)
    return vectors_html(view) + folds + _hardest(view)


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


def _log(view: JobView) -> str:
    if not view.log:
        return ""
    lines = escape("\n".join(view.log[-30:]))
    return f'<div class="pivotal-title">Log</div><pre class="pivotal-log">{lines}</pre>'
