"""How long a large dataset takes before the first step, and how much memory: python tests/benchmarks/scan_images.py 100000

Makes so many tiny images of several sizes with captions in a temporary folder, which it deletes again.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from pathlib import Path

import psutil
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "extension"))

from pivotal.config.sections.buckets import Buckets
from pivotal.data.buckets import fits, make_views
from pivotal.data.captions import Captions
from pivotal.data.concepts import Concept, rates
from pivotal.data.folder import Reading
from pivotal.data.order import Order
from pivotal.data.sources import read_source

SIZES = [(640, 480), (480, 640), (512, 512), (1920, 1080), (333, 777)]


def make_images(folder: Path, count: int) -> None:
    """`count` JPEG and PNG files and their captions, a thousand in a subfolder."""
    kinds = []
    for size in SIZES:
        for kind in ("png", "jpeg"):
            buffer = io.BytesIO()
            Image.new("L", size).save(buffer, kind)
            kinds.append((kind, buffer.getvalue()))
    for index in range(count):
        if index % 1000 == 0:
            part = folder / f"{index // 1000:04d}"
            part.mkdir()
        kind, data = kinds[index % len(kinds)]
        (part / f"{index:07d}.{kind}").write_bytes(data)
        (part / f"{index:07d}.txt").write_text(f"a photo of thing number {index}, somewhere", encoding="utf-8")


def main(count: int) -> None:
    """Prints seconds and MB."""
    process = psutil.Process()
    with tempfile.TemporaryDirectory() as name:
        make_images(Path(name), count)
        before, started = process.memory_info().rss, time.perf_counter()
        (group,) = read_source(name, Reading(subfolders=True), Path(name))
        read = time.perf_counter()
        captions = Captions(group.items, [Concept()], 1)
        fitted = fits([item.size for item in captions.items], Buckets(), [(512, 512)])
        order = Order(make_views(fitted, rates(captions.items, captions.concepts)), 4, 1)
        order.at(0)
        captions.text(0, 0)
        ended = time.perf_counter()
        grown = process.memory_info().rss - before
    print(f"{count} images: read in {read - started:.1f} s, ordered in {ended - read:.1f} s, {grown / 2**20:.0f} MB more memory "
          f"({process.memory_info().rss / 2**20:.0f} MB in all)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
