"""Tells which images of a run were hard."""

from __future__ import annotations

import csv
import io

from pivotal.data.captions import Captions
from pivotal.events import Emit, ImageLoss, LossesTold, Noticed
from pivotal.formats.atomic import write_text
from pivotal.jobs.paths import RunPaths
from pivotal.training.record import Record

TOLD = 5  # of the hardest


def tell_losses(record: Record, captions: Captions, paths: RunPaths, emit: Emit) -> None:
    """Writes each image's loss into the run's folder, the hardest first, and tells of the hardest."""
    images = [ImageLoss(captions.items[index].path, times, loss, relative)
              for index, times, loss, relative in record.by_image()]
    images.sort(key=lambda image: -image.relative)
    path = None
    if images:
        try:
            write_text(paths.losses, _table(images))
            path = paths.losses
        except OSError as error:
            emit(Noticed(f"{paths.losses.name} could not be written ({error.strerror or error})."))
    emit(LossesTold(tuple(images[:TOLD]), {str(start): loss for start, loss in record.by_band()}, path))


def _table(images: list[ImageLoss]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "times", "loss", "relative"])
    writer.writerows([str(image.path), image.times, f"{image.loss:.6g}", f"{image.relative:.6g}"] for image in images)
    return text.getvalue()
