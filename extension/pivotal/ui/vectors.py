"""What has become of each vector of the embeddings in training, as a table."""

from __future__ import annotations

from html import escape

from pivotal.events import VectorTold
from pivotal.jobs.watch.view import JobView
from pivotal.jobs.watch.watching import GROWN

_HELP = (f"Length: its norm, and how many times the median norm of the encoder's own tokens that is; from {GROWN:g} times on it "
         "drowns other words. Drift: 0 points where it began, 1 is a right angle to that. Nearest: the tokens that point most "
         "nearly the same way, with the cosine.")


def vectors_html(view: JobView) -> str:
    """The table, folded; empty where no embedding is trained."""
    if not view.vectors:
        return ""
    several = len({vector.encoder for vector in view.vectors}) > 1
    rows = "".join(_row(vector, several) for vector in view.vectors)
    return ('<details class="pivotal-fold" data-fold="vectors"><summary>Vectors'
            f"<span>at step {view.vectors_step}</span></summary>"
            f'<div class="pivotal-note">{escape(_HELP)}</div><div class="pivotal-scroll"><table class="pivotal-table"><thead><tr>'
            '<th scope="col">Vector</th><th scope="col">Length</th><th scope="col">Drift</th><th scope="col">Nearest tokens</th>'
            f"</tr></thead><tbody>{rows}</tbody></table></div></details>")


def _row(vector: VectorTold, several: bool) -> str:
    encoder = f" <small>{escape(vector.encoder)}</small>" if several else ""
    long = ' class="pivotal-warned"' if vector.relative > GROWN else ""
    nearest = ", ".join(f"{escape(word)} <small>{cosine:.2f}</small>" for word, cosine in vector.nearest)
    return (f'<tr><th scope="row">{escape(vector.placeholder)} {vector.number}{encoder}</th><td{long}>{vector.norm:.3g} '
            f"<small>{vector.relative:.2g}x</small></td><td>{vector.drift:.3f}</td><td>{nearest}</td></tr>")
