"""How an image is changed a little each time, so that a small dataset lasts longer."""

from __future__ import annotations

from dataclasses import dataclass

from pivotal.config.options import option


@dataclass(frozen=True)
class Augment:
    """Random changes of the images; masks are mirrored, turned and cut with them."""

    flip: float = option(
        0.0, "Mirrors images left to right this often; 0.5 is half of the time. Not for subjects whose left and right differ.",
        ge=0,
        le=1, step=0.05)
    random_crop: bool = option(False, "Cuts off what does not fit a size at random sides, instead of at both sides alike.",
                               ss="ss_random_crop")
    zoom: float = option(0.0, "Enlarges an image at most by this share before it is cut; 0.2 is a fifth.", ge=0, le=1,
                         step=0.01)
    rotation: float = option(0.0, "Turns an image by at most this many degrees either way, enlarged so that no border shows.",
                             ge=0, le=180, unit="degrees")
    brightness: float = option(0.0, "Makes an image brighter or darker by this share at most.", ge=0, le=1, step=0.01)
    contrast: float = option(0.0, "Changes the contrast by this share at most.", ge=0, le=1, step=0.01)
    saturation: float = option(0.0, "Changes how colourful an image is by this share at most.", ge=0, le=1, step=0.01)
    hue: float = option(0.0, "Shifts all colours by this part of the colour circle at most; 0.5 is any colour.", ge=0, le=0.5,
                        step=0.01)
    faces: bool = option(False, "Crops around the largest face found instead of the middle; needs OpenCV 4.",
                         label="Crop around faces")
    versions: int = option(
        1, "Number of differently changed versions of each image that are cached and used in turn. A mirrored one does not "
        "count.", ge=1, le=1000, void_when=(("cache.latents", ("off",), "Nothing is cached: each image is changed anew each "
                                             "time."),))

    @property
    def is_random(self) -> bool:
        """Whether anything but the mirroring is drawn anew for each version."""
        return self.random_crop or bool(self.zoom or self.rotation or self.brightness or self.contrast or self.saturation
                                        or self.hue)
