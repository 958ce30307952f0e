"""Which size each image is brought to; pure, and never a distortion: an image is scaled alike in both directions and cut."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pivotal.config.sections.buckets import Buckets
from pivotal.data.view import Fit, Size, View

LATENT = 8  # px of a latent's side
# OneTrainer's list of forms, long side over short side (mgds, AspectBucketing.py).
_ONETRAINER = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0)


def fits(sizes: Sequence[Size], settings: Buckets, resolutions: Sequence[Size]) -> list[list[Fit]]:
    """For each image its fit at each of `resolutions`.

    Args:
        sizes: of the upright images, px.
    """
    rules = [_rule(settings, resolution) for resolution in resolutions]
    known: dict[Size, list[Fit]] = {}
    for size in sizes:
        if size not in known:
            known[size] = [rule.fit(size) for rule in rules]
    return [known[size] for size in sizes]


def cover(original: Size, size: Size) -> Fit:
    """`original` scaled until it covers `size`, whose middle is cut out."""
    scale = max(side / whole for side, whole in zip(size, original, strict=True))
    return middle(original, _at_least(size, [round(whole * scale) for whole in original]), size)


def middle(original: Size, scaled: Size, size: Size) -> Fit:
    """The fit that cuts `size` out of the middle of `scaled`."""
    return Fit(original, scaled, ((scaled[0] - size[0]) // 2, (scaled[1] - size[1]) // 2), size)


def make_views(fitted: Sequence[Sequence[Fit]], rates: Sequence[float]) -> list[View]:
    """The views of all images: one at each resolution, which come in turn.

    Together the views of an image come as often as its rate says, each as often as the others; images of a rate below 1
    take turns, so that every epoch has about as many of them.

    Args:
        fitted: of each image, its fit at each resolution.
        rates: of each image, how often it is seen in an epoch.
    """
    views, ranks = [], dict.fromkeys(rates, 0)
    for item, (choices, rate) in enumerate(zip(fitted, rates, strict=True)):
        count, rank = len(choices), ranks[rate]
        ranks[rate] += 1
        # The views' phases are 1 / count apart: then floor(x + j / count), added up over j, is floor(count * x).
        own = (rank * rate) % 1.0
        views += [View(item, fit, rate / count, ((rank + place + own) / count) % 1.0) for place, fit in enumerate(choices)]
    return views


def cropped_share(fit: Fit) -> float:
    """Which part of the scaled image is cut off, 0..1."""
    return 1 - (fit.size[0] * fit.size[1]) / (fit.scaled[0] * fit.scaled[1])


@dataclass(frozen=True)
class Bucket:
    """The images of one size."""

    size: Size
    images: int
    cropped: float  # mean share of the scaled images that is cut off


def summary(found: Iterable[Fit]) -> list[Bucket]:
    """What each size has, those with most images first."""
    shares: dict[Size, list[float]] = {}
    for fit in found:
        shares.setdefault(fit.size, []).append(cropped_share(fit))
    buckets = [Bucket(size, len(parts), sum(parts) / len(parts)) for size, parts in shares.items()]
    return sorted(buckets, key=lambda bucket: (-bucket.images, bucket.size))


@dataclass(frozen=True)
class _Forms:
    """A list of sizes, of which an image gets the one whose form is nearest to its own."""

    sizes: tuple[Size, ...]
    tall: bool = False  # forms are compared as height over width instead of width over height

    def fit(self, original: Size) -> Fit:
        if original in self.sizes:
            return cover(original, original)
        wanted = self._form(original)
        # Of two sizes of one form the larger, which is the resolution itself.
        return cover(original, min(self.sizes, key=lambda size: (abs(self._form(size) - wanted), -size[0])))

    def _form(self, size: Size) -> float:
        return size[0] / size[1] if self.tall else size[1] / size[0]


@dataclass(frozen=True)
class _NeverEnlarged:
    """kohya's bucket_no_upscale: an image larger than the area is made smaller, then cut to multiples of `step`."""

    area: int  # px
    step: int

    def fit(self, original: Size) -> Fit:
        height, width = original
        scaled = original
        if height * width > self.area:
            scaled = self._smaller(width / height)
        if min(scaled) < self.step:
            # kohya makes a size of zero of it. Only such an image is enlarged, and its long side may be cut.
            scale = self.step / min(scaled)
            scaled = (round(scaled[0] * scale), round(scaled[1] * scale))
        longest = max(self.area // self.step // self.step * self.step, self.step)
        size = (min(longest, scaled[0] - scaled[0] % self.step), min(longest, scaled[1] - scaled[1] % self.step))
        return middle(original, scaled, size)

    def _smaller(self, aspect: float) -> Size:
        """The size of that form (width over height) and the area, one side of it a multiple of `step`: the side with
        which the size keeps the form best."""
        width = math.sqrt(self.area * aspect)
        by_width, by_height = self._steps(width), self._steps(self.area / width)
        form_by_width = by_width / self._steps(by_width / aspect)
        form_by_height = self._steps(by_height * aspect) / by_height
        if abs(form_by_width - aspect) < abs(form_by_height - aspect):
            return int(by_width / aspect + 0.5), by_width
        return by_height, int(by_height * aspect + 0.5)

    def _steps(self, side: float) -> int:
        return max(self.step, int(side + 0.5) // self.step * self.step)


@dataclass(frozen=True)
class _Exact:
    """Each image as it is, cut to whole latents; one that is smaller than a latent is enlarged to it."""

    def fit(self, original: Size) -> Fit:
        size = _at_least((LATENT, LATENT), [side - side % LATENT for side in original])
        return middle(original, original, size) if min(original) >= LATENT else cover(original, size)


def _rule(settings: Buckets, resolution: Size) -> _Forms | _NeverEnlarged | _Exact:
    area = resolution[0] * resolution[1]
    if settings.kind == "off":
        return _Forms((resolution,))
    if settings.kind == "exact sizes":
        return _Exact()
    if settings.kind == "no upscale":
        return _NeverEnlarged(area, settings.step)
    if settings.kind == "onetrainer":
        return _Forms(onetrainer_sizes(area, settings.step), tall=True)
    side = math.isqrt(area)
    least, most = settings.minimum or side // 2, settings.maximum or 2 * side
    listed = kohya_sizes if settings.kind == "aspect" else invoke_sizes
    return _Forms(tuple(sorted({resolution, *listed(area, settings.step, least, most)})), tall=settings.kind == "invoke")


def kohya_sizes(area: int, step: int, least: int, most: int) -> set[Size]:
    """Both orientations of each width that is a multiple of `step` from `least` to `most`, with the height that fits into
    `area`, cut to `most`, if it is not less than `least` (kohya, library/model_util.py, make_bucket_resolutions)."""
    found = set()
    for width in _multiples(step, least, most):
        height = min(most, area // width // step * step)
        if height >= max(least, step):
            found |= {(height, width), (width, height)}
    return found


def invoke_sizes(area: int, step: int, least: int, most: int) -> set[Size]:
    """As `kohya_sizes`, but the other side may be of any length (invoke-training, aspect_ratio_bucket_manager.py)."""
    pairs = [(first, area // first // step * step) for first in _multiples(step, least, most)]
    return {size for first, second in pairs if second for size in ((first, second), (second, first))}


def onetrainer_sizes(area: int, step: int) -> tuple[Size, ...]:
    """OneTrainer's forms at `area`, sides rounded to multiples of `step` (mgds, AspectBucketing.py)."""
    found: dict[Size, None] = {}
    for form in _ONETRAINER:
        short = math.sqrt(area / form)
        sides = (max(step, round(short / step) * step), max(step, round(short * form / step) * step))
        found |= dict.fromkeys((sides, sides[::-1]))
    return tuple(sorted(found))


def _multiples(step: int, least: int, most: int) -> range:
    return range(-(-least // step) * step, most + 1, step)


def _at_least(least: Size, sides: Sequence[int]) -> Size:
    return max(least[0], sides[0]), max(least[1], sides[1])
