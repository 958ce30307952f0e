"""What a comparison is told: which files, which prompts, how they are drawn."""

from __future__ import annotations

from dataclasses import dataclass

from pivotal.config.options import option
from pivotal.config.sections.output import Sampler

MOST_IMAGES = 400
_STRONGEST = 10.0


@dataclass(frozen=True)
class Comparison:
    """The same prompts at the same seeds with each of several results."""

    run: str = option("", "Compares every save of the run of this name: its copies on the way, its best step, its result.")
    files: tuple[str, ...] = option(
        (), "Names of LoRAs and embeddings in the host's folders, one per line.", label="Other files")
    prompts: tuple[str, ...] = option(
        (), "Prompts, one per line; {word} stands for the words of the file that is drawn with. Empty takes the run's samples.",
        tokens="prompt")
    strengths: str = option("1", "Weights in the networks' tags, with commas between them: 0.6, 0.8, 1.")
    seeds: str = option("", "Seeds, with commas between them; each prompt is drawn from each. Empty takes the run's.")
    negative: str | None = option(None, "What the images should not show. Empty takes the run's.", tokens="prompt",
                                  label="Negative prompt")
    size: int | None = option(None, "Side of an image, a multiple of 8. Empty takes the run's, else the checkpoint's.", ge=64,
                              le=4096, unit="px")
    steps: int | None = option(None, "Number of sampling steps. Empty takes the run's, else 20.", ge=1, le=150,
                               label="Sampling steps")
    sampler: Sampler | None = option(None, "Sampler. Empty takes the run's, else Euler.")
    cfg_scale: float | None = option(None, "How strongly the prompt guides. Empty takes the run's, else 5.", ge=1, le=30,
                                     label="CFG scale")
    base: bool = option(True, "Draws each prompt without any of the files, too.", label="Without them, too")
    let_prompts_through: bool = option(True, "Lets prompts that wait be drawn between two images.")

    def problems(self) -> dict[str, str]:
        """What is wrong with options together."""
        found = {}
        for key, asked in (("strengths", lambda: self.all_strengths), ("seeds", lambda: self.all_seeds)):
            try:
                asked()
            except ValueError as error:
                found[key] = str(error)
        if not self.run and not self.files:
            found["files"] = "needs a run or files to compare"
        if self.size is not None and self.size % 8:
            found["size"] = f"must be a multiple of 8; {self.size - self.size % 8} is"
        return found

    @property
    def all_strengths(self) -> tuple[float, ...]:
        """At least one."""
        return tuple(numbers(self.strengths, -_STRONGEST, _STRONGEST)) or (1.0,)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """None: the run's."""
        return tuple(int(seed) for seed in numbers(self.seeds, 0, 2**32 - 1, whole=True))


def numbers(text: str, least: float, most: float, *, whole: bool = False) -> list[float]:
    """``0.6, 0.8, 1`` as numbers, each once.

    Raises:
        ValueError: says what was expected and what was seen.
    """
    found = []
    for part in text.replace(";", ",").split(","):
        if not part.strip():
            continue
        try:
            number = int(part) if whole else float(part)
        except ValueError:
            raise ValueError(f"expected numbers with commas between them, got {part.strip()[:40]!r}") from None
        if not least <= number <= most:  # nan is in no range
            raise ValueError(f"expected numbers from {least:g} to {most:g}, got {number:g}")
        found.append(number)
    return list(dict.fromkeys(found))
