"""One picture under one corruption: names become functions, and the picture's size chooses the table of strengths."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from surefoot.data.corruptions import blur, digital, noise, weather
from surefoot.data.corruptions.picture import Chance, Floats, Setting
from surefoot.data.corruptions.tables import row, table_size

Corruption = Callable[[Floats, Setting], Floats]

FUNCTIONS: Mapping[str, Corruption] = MappingProxyType(
    {
        "gaussian_noise": noise.gaussian_noise,
        "shot_noise": noise.shot_noise,
        "impulse_noise": noise.impulse_noise,
        "defocus_blur": blur.defocus_blur,
        "glass_blur": blur.glass_blur,
        "motion_blur": blur.motion_blur,
        "zoom_blur": blur.zoom_blur,
        "snow": weather.snow,
        "frost": weather.frost,
        "fog": weather.fog,
        "brightness": digital.brightness,
        "contrast": digital.contrast,
        "elastic_transform": digital.elastic_transform,
        "pixelate": digital.pixelate,
        "jpeg_compression": digital.jpeg_compression,
        "speckle_noise": noise.speckle_noise,
        "gaussian_blur": blur.gaussian_blur,
        "spatter": weather.spatter,
        "saturate": digital.saturate,
    }
)
ALL = tuple(FUNCTIONS)
COMMON, EXTRA = ALL[:15], ALL[15:]
SEVERITIES = (1, 2, 3, 4, 5)


def corrupt(pixels: NDArray[np.uint8], name: str, severity: int, *, index: int = 0, seed: int = 0) -> NDArray[np.uint8]:
    """The picture (H, W, 3), uint8 RGB, under the corruption `name` at severity 1 to 5; of the same shape.

    Lengths are those published for 224, 64 or 32 pixels, whichever serves the short side (from 128, from 48, below),
    times the short side over that number. Raises ValueError for another name, severity, shape or type.
    """
    _check(pixels, name, severity)
    short = min(pixels.shape[:2])
    size = table_size(short)
    chance = Chance(seed, name, severity, index=index)
    setting = Setting(row(name, severity, size=size), short / size, chance)
    found = FUNCTIONS[name](pixels.astype(np.float32) / np.float32(255), setting)
    return np.rint(np.clip(found, 0, 1) * 255).astype(np.uint8)


def names_of(words: str | Sequence[str]) -> tuple[str, ...]:
    """The corruptions that are meant by names, by "common" (15), "extra" (4) or "all" (19), each once, in their order.

    Raises ValueError for another word, with the nearest.
    """
    groups = {"common": COMMON, "extra": EXTRA, "all": ALL}
    given = [part.strip() for part in words.split(",")] if isinstance(words, str) else list(words)
    for word in given:
        if word not in groups:
            _check_name(word)
    meant = {name for word in given for name in groups.get(word, (word,))}
    return tuple(name for name in ALL if name in meant)


def _check(pixels: NDArray[np.uint8], name: str, severity: int) -> None:
    _check_name(name)
    if severity not in SEVERITIES:
        raise ValueError(f"severity is {severity}; choose 1 to 5")
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape or pixels.dtype != np.uint8:
        raise ValueError(
            f"pixels have shape {pixels.shape} and type {pixels.dtype}; expected an RGB picture (H, W, 3) of uint8"
        )


def _check_name(name: str) -> None:
    if name not in FUNCTIONS:
        near = difflib.get_close_matches(str(name).lower().replace(" ", "_"), [*ALL, "common", "extra", "all"], n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise ValueError(f"there is no corruption {name!r}{hint} Known: {', '.join(ALL)}")
