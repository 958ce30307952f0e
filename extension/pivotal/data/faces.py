"""Where the face in an image is, so that cutting does not take it off; OpenCV, which many hosts have, looks for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pivotal.config.sections.augment import Augment
from pivotal.data.images import READ_ERRORS, open_image, upright_rgb
from pivotal.errors import DatasetError

LOOKED_AT = 640  # px, longer side of the copy in which faces are looked for
SMALLEST = 16  # a face's side is at least this part of the image's longer side
CASCADE = "haarcascade_frontalface_default.xml"  # comes with OpenCV (Viola and Jones 2001)


def face_problems(augment: Augment) -> dict[str, str]:
    """What keeps faces from being looked for, by key; OpenCV 5 has no cascades any more."""
    if not augment.faces:
        return {}
    try:
        import cv2
    except ImportError:
        seen = "it is not installed"
    else:
        if hasattr(cv2, "CascadeClassifier"):
            return {}
        seen = f"version {cv2.__version__} looks for no faces without a model of its own"
    return {"augment.faces": f"needs OpenCV 4, and {seen}; run pip install \"opencv-python-headless<5\" in the host's "
                             "environment, or switch it off"}


def find_face(path: Path) -> tuple[float, float] | None:
    """The middle of the largest face, down and across as parts (0..1) of the upright image; None where none is seen.

    Raises:
        DatasetError: the image cannot be read.
    """
    import cv2

    try:
        with open_image(path) as opened:
            image = upright_rgb(opened).convert("L")
    except READ_ERRORS as error:
        raise DatasetError(f"{path.name} cannot be read: {error}. Repair it or take it out.") from error
    image.thumbnail((LOOKED_AT, LOOKED_AT), Image.Resampling.BOX)
    least = max(image.size) // SMALLEST
    cascade = cv2.CascadeClassifier(str(Path(cv2.data.haarcascades) / CASCADE))
    found = cascade.detectMultiScale(np.asarray(image), 1.1, 5, minSize=(least, least))
    if not len(found):
        return None
    left, top, width, height = max((tuple(int(part) for part in box) for box in found), key=lambda box: box[2] * box[3])
    return (top + height / 2) / image.height, (left + width / 2) / image.width
