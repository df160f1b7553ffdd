"""Blurs. x is the picture (H, W, 3), values from 0 to 1."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from surefoot.data.corruptions.filters import blurred, correlated, disk_kernel, motion_blurred
from surefoot.data.corruptions.picture import Chance, Floats, Setting


def gaussian_blur(x: Floats, setting: Setting) -> Floats:
    """Values: the deviation in pixels."""
    return blurred(x, setting.values[0] * setting.scale)


def defocus_blur(x: Floats, setting: Setting) -> Floats:
    """A disk, as an open lens out of focus makes it. Values: its radius, and how soft its rim is, in pixels."""
    radius, edge = setting.values
    return correlated(x, disk_kernel(radius * setting.scale, edge * setting.scale), border="reflect")


def motion_blur(x: Floats, setting: Setting) -> Floats:
    """Along a line of -45 to 45 degrees. Values: radius and deviation in pixels, see `filters.motion_blurred`."""
    radius, sigma = setting.values
    angle = setting.chance.between(-45, 45)
    return motion_blurred(x, radius * setting.scale, sigma * setting.scale, angle=angle)


def zoom_blur(x: Floats, setting: Setting) -> Floats:
    """The mean of the picture and of its enlargements by 1, 1 + step, 1 + 2 step, ... Values: their number, the step.

    Departure: each is cut out exactly around the centre, bilinear; the authors cut whole pixels and trimmed.
    """
    count, step = setting.values
    height, width = x.shape[:2]
    image = Image.fromarray(np.rint(x * 255).astype(np.uint8))
    total = np.float32(2) * x  # the picture, and its enlargement by 1
    for number in range(1, int(count)):
        zoom = 1 + step * number
        left, top = width * (1 - 1 / zoom) / 2, height * (1 - 1 / zoom) / 2
        box = (left, top, width - left, height - top)
        enlarged = image.resize((width, height), Image.Resampling.BILINEAR, box=box)
        total = total + np.asarray(enlarged, dtype=np.float32) / np.float32(255)
    return np.asarray(total / np.float32(count + 1))


def glass_blur(x: Floats, setting: Setting) -> Floats:
    """A blur, pixels that take another's place nearby, and the blur again.

    Values: the blur's deviation in pixels, how far a pixel may come from, how often all are moved. The paper speaks of
    shuffling; the script that made the published images copies one pixel onto the other, and so does this.
    """
    sigma, far, times = setting.values
    reach = max(1, round(far * setting.scale))
    soft = np.floor(blurred(x, sigma * setting.scale) * 255 + 1e-3) / 255  # whole levels, as published
    height, width = x.shape[:2]
    pixels = soft.reshape(height * width, 3).astype(np.float32)
    for _ in range(int(times)):
        pixels = pixels[shuffled_places(height, width, reach, chance=setting.chance)]
    return blurred(pixels.reshape(x.shape), sigma * setting.scale)


def shuffled_places(height: int, width: int, reach: int, *, chance: Chance) -> NDArray[np.int64]:
    """From where each pixel of a picture comes: (height * width,) positions, row by row.

    One after the other, from the last pixel to the first, a pixel takes what now stands up to `reach` before or
    `reach` - 1 behind it in each direction. So it takes what another has taken already, where that one came earlier.
    A margin stays as it is.
    """
    places = np.arange(height * width)
    rows, columns = np.arange(reach + 1, height - reach + 1), np.arange(reach + 1, width - reach + 1)
    if not len(rows) or not len(columns):
        return places
    inside = (rows[:, None] * width + columns).ravel()
    down, right = (2 * reach * chance.uniform(2, len(inside))).astype(np.int64) - reach
    taken = places.copy()  # whose place each pixel looks at
    taken[inside] += down * width + right
    moved = np.zeros(height * width, dtype=bool)
    moved[inside] = True
    # a pixel looked at that was moved earlier shows what it has taken itself
    open_ = np.flatnonzero((taken > places) & moved[taken])
    found = taken.copy()
    while len(open_):
        at = found[open_]
        found[open_] = taken[at]
        open_ = open_[(taken[at] > at) & moved[taken[at]]]
    return found
