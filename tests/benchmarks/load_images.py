"""How long images keep a run waiting, by where their latents are kept: run me, I print a table.

    python tests/benchmarks/load_images.py [--images 24] [--width 3000] [--height 2000] [--resolution 512] [--step 0.3]

A step of the device is a pause of so many seconds, for a GPU leaves the processor free as a pause does; and encoding is
only an average over pixels. So what is measured is reading: decoding, scaling and cutting photos, and the files of the cache.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import types
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "extension"))

from pivotal.config.sections.buckets import Buckets
from pivotal.config.sections.cache import Cache
from pivotal.data.buckets import fits, make_views
from pivotal.data.folder import Item
from pivotal.data.latents import ImageStore
from pivotal.data.opening import open_store
from pivotal.data.prefetch import Prefetch
from pivotal.data.versions import StoreSettings

BATCH = 2


class Averages:
    """An encoder that costs next to nothing."""

    vae, family, is_inpainting = nn.Module(), types.SimpleNamespace(latent_scale=1.0), False

    def encode_images(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        mean = functional.avg_pool2d(pixels, 8)[:, [0, 1, 2, 0]]
        return mean, torch.ones_like(mean)


def write_photos(folder: Path, count: int, width: int, height: int) -> list[Item]:
    """JPEG files with as much detail as photos have."""
    dice = np.random.default_rng(1)
    items = []
    for number in range(count):
        small = Image.fromarray(dice.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8))
        path = folder / f"{number:03d}.jpg"
        small.resize((width, height), Image.Resampling.BICUBIC).save(path, quality=92)
        items.append(Item(path, None, size=(height, width)))
    return items


def steps(store: ImageStore, count: int, pause: float, *, ahead: bool) -> float:
    """Seconds per step of `BATCH` images."""
    batches = [tuple(((number * BATCH + place) % len(store.views), 0) for place in range(BATCH)) for number in range(count + 2)]
    began = time.perf_counter()
    with Prefetch(store.load) as reader:
        for number in range(count):
            loaded = reader.get(batches[number], batches[number + 1 : number + 3]) if ahead else store.load(batches[number])
            store.latents(loaded, torch.Generator().manual_seed(number))
            time.sleep(pause)
    return (time.perf_counter() - began) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, usual in (("images", 24), ("width", 3000), ("height", 2000), ("resolution", 512)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--step", type=float, default=0.3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        items = write_photos(Path(scratch), given.images, given.width, given.height)
        views = make_views(fits([item.size for item in items], Buckets(), [(given.resolution,) * 2]), [1.0] * len(items))
        print(f"{given.images} photos of {given.width}x{given.height} px at {views[0].fit.size} px, batches of {BATCH}, "
              f"{given.step} s of device work a step")
        print(f"{'latents':<22}{'before the run':>16}{'a step':>12}{'waiting':>12}")
        for name, cache, ahead in (("memory", "memory", True), ("disk, first run", "disk", True),
                                   ("disk, second run", "disk", True), ("off", "off", True), ("off, not ahead", "off", False)):
            began = time.perf_counter()
            store = open_store(Averages(), items, views, StoreSettings(1, Cache(cache)), Path(scratch) / "cache",
                               progress=lambda *_: None, stopped=lambda: False)
            opened = time.perf_counter() - began
            step = steps(store, given.images // BATCH, given.step, ahead=ahead)
            print(f"{name:<22}{opened:>14.2f} s{step:>10.3f} s{(step - given.step) * 1000:>9.0f} ms")


if __name__ == "__main__":
    main()
