"""Weather, and what it leaves on the lens. x is the picture (H, W, 3), values from 0 to 1."""

import math

import numpy as np
from numpy.typing import NDArray

from surefoot.data.corruptions.filters import blurred, correlated, motion_blurred, sampled, stretched
from surefoot.data.corruptions.picture import Chance, Floats, Setting

GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # the luma of BT.601
WATER = np.array([175, 238, 238], dtype=np.float32) / 255
MUD = np.array([63, 42, 20], dtype=np.float32) / 255
ICE = np.array([[0.16, 0.2, 0.27], [0.62, 0.69, 0.78], [1.0, 1.0, 1.0]], dtype=np.float32)  # thin, thicker, crystals


def fog(x: Floats, setting: Setting) -> Floats:
    """(x + c plasma) max / (max + c), with max the picture's highest value. Values: c, the plasma's decay."""
    thick, decay = setting.values
    height, width = x.shape[:2]
    size = 2 ** max(1, math.ceil(math.log2(max(height, width))))
    field = plasma(size, decay, chance=setting.chance)[:height, :width, None]
    highest = x.max()
    return np.asarray((x + np.float32(thick) * field) * (highest / (highest + np.float32(thick))))


def plasma(size: int, decay: float, *, chance: Chance) -> Floats:
    """A random landscape (size, size) from 0 to 1 by the diamond-square algorithm; `size` is a power of two.

    The middle of four points is their mean and a uniform random number; from each halving of the grid to the next, that
    number's range is divided by the square of `decay`. The landscape goes on at the opposite side.
    """
    field = np.zeros((size, size))
    step, wobble = size, 100.0 * 100.0
    while step >= 2:
        half, count = step // 2, size // step
        noise = wobble * (2 * chance.uniform(3, count, count) - 1)
        corners = field[::step, ::step]
        below, beside = np.roll(corners, -1, 0), np.roll(corners, -1, 1)
        middle = (corners + below + beside + np.roll(below, -1, 1)) / 4 + noise[0]
        field[half::step, half::step] = middle
        field[::step, half::step] = (corners + beside + middle + np.roll(middle, 1, 0)) / 4 + noise[1]
        field[half::step, ::step] = (corners + below + middle + np.roll(middle, 1, 1)) / 4 + noise[2]
        step, wobble = half, wobble / decay**2
    field -= field.min()
    return np.asarray(field / field.max(), dtype=np.float32)


def snow(x: Floats, setting: Setting) -> Floats:
    """Flakes that fall at a slant, twice (the second time upside down), on a whitened picture.

    Values: mean and deviation of the noise that flakes are made of, their size, the threshold, radius and deviation of
    their motion blur, the picture's share in the whitened one.
    """
    mean, deviation, size, threshold, radius, sigma, share = setting.values
    height, width = x.shape[:2]
    zoom = max(1.0, size * setting.scale)
    noise = setting.chance.normal(math.ceil(height / zoom), math.ceil(width / zoom))
    flakes = stretched(np.float32(mean) + np.float32(deviation) * noise, height, width)
    flakes = np.where(flakes < threshold, np.float32(0), np.clip(flakes, 0, 1))
    angle = setting.chance.between(-135, -45)
    flakes = motion_blurred(flakes, radius * setting.scale, sigma * setting.scale, angle=angle)
    whitened = np.maximum(x, 1.5 * (x @ GREY)[..., None] + np.float32(0.5))
    mixed = np.float32(share) * x + np.float32(1 - share) * whitened
    return np.asarray(mixed + (flakes + np.rot90(flakes, 2))[..., None])


def frost(x: Floats, setting: Setting) -> Floats:
    """a x + b ice. Values: a, b.

    Departure: the authors cut the ice from photographs of frosted windows, which are not shipped here; ours is drawn,
    by `ice`. So numbers under frost are not comparable with published ones.
    """
    mine, ices = setting.values
    return np.asarray(np.float32(mine) * x + np.float32(ices) * ice(*x.shape[:2], chance=setting.chance))


def ice(height: int, width: int, *, chance: Chance) -> Floats:
    """Frost on a window (height, width, 3): a bluish film of uneven thickness, with bright needles on it.

    Needles are the ridges of noise that is drawn out along one of three directions, 60 degrees apart as ice grows; each
    direction has its own regions. All lengths follow the short side.
    """
    unit = min(height, width) / 224
    down, right = np.mgrid[:height, :width] / unit
    film, bend, roughness = (_patches(height, width, 224 / every, chance=chance) for every in (80, 40, 8))
    first = chance.between(0, math.pi / 3)
    needles = np.zeros((height, width), dtype=np.float32)
    for way in range(3):
        sine, cosine = math.sin(first + way * math.pi / 3), math.cos(first + way * math.pi / 3)
        along, across = down * sine + right * cosine, down * cosine - right * sine + 14 * bend + 3 * roughness
        noise = chance.uniform(96, 96).astype(np.float32)
        ridges = 1 - np.abs(2 * sampled(noise, across / 4 + 90, along / 22 + 40) - 1)
        region = _patches(height, width, 224 / 48, chance=chance)
        needles = np.maximum(needles, ridges**4 * np.clip(4 * region - 1.6, 0, 1))
    grain = chance.uniform(height, width).astype(np.float32)
    thickness = np.clip(1.5 * film - 0.35 + 0.3 * roughness + 0.3 * (grain - 0.5), 0, 1)[..., None]
    thin = ICE[0] + (ICE[1] - ICE[0]) * thickness
    bright = np.clip(needles * (0.4 + 0.6 * thickness[..., 0]) * (0.7 + 0.6 * grain), 0, 1)
    return np.asarray(thin + (ICE[2] - thin) * bright[..., None])


def _patches(height: int, width: int, count: float, *, chance: Chance) -> Floats:
    """Smooth noise from 0 to 1, with `count` independent values along the short side."""
    step = min(height, width) / count
    shape = (math.ceil(height / step) + 2, math.ceil(width / step) + 2)
    return stretched(chance.uniform(*shape).astype(np.float32), height, width)


def spatter(x: Floats, setting: Setting) -> Floats:
    """Drops of water (severities 1 to 3) or of mud (4 and 5) on the lens.

    Values: mean and deviation of the noise that drops are made of, its blur in pixels, the threshold, for water its
    strength and for mud the blur of its rims in pixels, 0 for water and 1 for mud. On a picture of another size than
    the table's, drops are made at the table's size and enlarged or shrunk, so that as much is covered.
    """
    mean, deviation, sigma, threshold, last, is_mud = setting.values
    height, width = x.shape[:2]
    shape = (max(1, round(height / setting.scale)), max(1, round(width / setting.scale)))
    noise = np.float32(mean) + np.float32(deviation) * setting.chance.normal(*shape)
    liquid = blurred(noise, sigma)
    liquid = np.where(liquid < threshold, np.float32(0), liquid)
    if is_mud:
        cover = blurred((liquid > threshold).astype(np.float32), last)
        cover = stretched(np.where(cover < 0.8, np.float32(0), cover), height, width)[..., None]
        return np.asarray(x * (1 - cover) + MUD * cover)
    shine = drop_shine(liquid) * liquid
    highest = shine.max()
    if highest == 0:
        return x
    return np.asarray(x + np.float32(last) * stretched(shine / highest, height, width)[..., None] * WATER)


def drop_shine(liquid: Floats) -> Floats:
    """How drops (H, W) shine: light from one side on a surface that rises from their rims, from 0 to 255.

    As published, but for the rims: the authors found them with Canny's detector; here they are the outermost pixels of
    the drops. The distance to the nearest rim, at most 20, is equalised, embossed and smoothed.
    """
    level = np.floor(smoothed(distance(_rims(liquid > 0), most=20)) + 1e-3).astype(np.int64)
    counts = np.bincount(level.ravel(), minlength=256)
    below = np.cumsum(counts) - counts[level.min()]
    equal = np.rint(255 * below / max(1, below[-1]))[level].astype(np.float32)
    emboss = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], dtype=np.float32)
    return smoothed(np.clip(correlated(equal, emboss, border="reflect"), 0, 255))


def smoothed(layer: Floats) -> Floats:
    """The mean over 3 x 3 pixels."""
    return correlated(layer, np.full((3, 3), 1 / 9, dtype=np.float32), border="reflect")


def distance(rims: NDArray[np.bool_], *, most: int) -> Floats:
    """From each pixel (H, W) to the nearest true one, in pixels, at most `most`."""
    height, width = rims.shape
    padded = np.pad(rims, ((0, 0), (most, most)))
    along = np.full((height, width), most + 1, dtype=np.int64)  # in the same row
    for away in range(most, -1, -1):
        hit = padded[:, most - away : most - away + width] | padded[:, most + away : most + away + width]
        along[hit] = away
    squares = np.pad(along**2, ((most, most), (0, 0)), constant_values=(most + 1) ** 2)
    nearest = np.min([squares[most + up : most + up + height] + up**2 for up in range(-most, most + 1)], axis=0)
    return np.asarray(np.sqrt(np.minimum(nearest, most**2)), dtype=np.float32)


def _rims(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The true pixels (H, W) that touch a false one above, below or beside."""
    padded = np.pad(mask, 1, mode="edge")
    return mask & ~(padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:])
