"""Procedural backgrounds with natural colours: seeded noise that looks like grass, water, sand and so on.

Used twice: behind a third of IconCLIP's pre-training pictures (the caption names them) and in IconGroups.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

PHRASES = {
    "grass": ("on grass", "on a lawn", "on green grass", "in a meadow"),
    "water": ("on water", "on the sea", "on a lake", "in the water"),
    "sand": ("on sand", "on a beach", "in the desert"),
    "brick": ("on a brick wall", "on bricks", "in front of a brick wall"),
    "paper": ("on paper", "on a sheet of paper", "on old paper"),
    "night sky": ("in the night sky", "under the stars", "at night"),
    "wood": ("on wood", "on a wooden table", "on wooden planks"),
    "stone": ("on stone", "on a rock", "on concrete"),
    "snow": ("on snow", "in the snow"),
    "cloudy sky": ("in the sky", "in a cloudy sky", "in front of clouds"),
}
"""How captions name each kind; the first phrase is the plainest."""


def texture(kind: str, size: int, seed: int) -> np.ndarray:
    """Return a (size, size, 3) byte picture of the given kind; the same seed gives the same picture."""
    rng = np.random.default_rng([seed, sorted(_MAKERS).index(kind)])
    return np.clip(np.rint(_MAKERS[kind](rng, size)), 0, 255).astype(np.uint8)


def _noise(rng: np.random.Generator, size: int, rows: int, columns: int, octaves: int = 3) -> np.ndarray:
    """Return smooth noise in 0..1 of (size, size) whose coarsest cells are size/rows high and size/columns wide."""
    total = np.zeros((size, size))
    for octave in range(octaves):
        cells = (min(size, rows * 2**octave), min(size, columns * 2**octave))
        grid = Image.fromarray(rng.random(cells).astype(np.float32))
        total += np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC)) / 2**octave
    total -= total.min()
    return total / total.max()


def _blend(share: np.ndarray, *colours: tuple[int, int, int]) -> np.ndarray:
    """Return colours for shares in 0..1 along the given ramp, (H, W, 3)."""
    stops = np.linspace(0, 1, len(colours))
    ramp = np.array(colours, dtype=float)
    return np.stack([np.interp(share, stops, ramp[:, channel]) for channel in range(3)], axis=-1)


def _tint(rng: np.random.Generator, strength: float = 12) -> np.ndarray:
    return rng.normal(0, strength, 3)


def _grass(rng: np.random.Generator, size: int) -> np.ndarray:
    blades = _noise(rng, size, rng.integers(6, 10), rng.integers(24, 32), 2)
    patches = _noise(rng, size, 3, 3)
    return _blend(0.65 * blades + 0.35 * patches, (22, 62, 18), (62, 122, 38), (128, 178, 74)) + _tint(rng)


def _water(rng: np.random.Generator, size: int) -> np.ndarray:
    rows = np.linspace(0, rng.uniform(5, 9), size)[:, None] * 2 * np.pi
    waves = 0.5 + 0.5 * np.sin(rows + 6 * _noise(rng, size, 4, 3))
    light = 0.6 * waves + 0.4 * _noise(rng, size, 14, 5)
    glints = (light > 0.86)[..., None] * rng.uniform(30, 70)
    return _blend(light, (12, 52, 104), (32, 104, 160), (104, 178, 208)) + glints + _tint(rng)


def _sand(rng: np.random.Generator, size: int) -> np.ndarray:
    rows = np.linspace(0, rng.uniform(3, 6), size)[:, None] * 2 * np.pi
    ripples = 0.5 + 0.5 * np.sin(rows + 5 * _noise(rng, size, 3, 3))
    share = 0.45 * ripples + 0.35 * _noise(rng, size, 4, 4) + 0.2 * rng.random((size, size))
    return _blend(share, (176, 136, 84), (214, 178, 122), (238, 214, 164)) + _tint(rng, 8)


def _brick(rng: np.random.Generator, size: int) -> np.ndarray:
    height = int(rng.integers(9, 13))
    width = 2 * height + int(rng.integers(0, 4))
    y, x = np.mgrid[:size, :size] + rng.integers(0, width)
    row = y // height
    along = x + (row % 2) * (width // 2)
    mortar = (y % height < 1.5) | (along % width < 1.5)
    shades = rng.random((size // height + width + 3, 2 * size // width + width + 4))
    shade = shades[row % (size // height + 3), along // width]
    bricks = _blend(0.6 * shade + 0.4 * _noise(rng, size, 8, 8), (118, 48, 36), (166, 76, 54), (196, 112, 84))
    joints = _blend(_noise(rng, size, 8, 8), (168, 160, 150), (206, 200, 190))
    return np.where(mortar[..., None], joints, bricks) + _tint(rng, 8)


def _paper(rng: np.random.Generator, size: int) -> np.ndarray:
    share = 0.6 * _noise(rng, size, 3, 3) + 0.4 * rng.random((size, size))
    return _blend(share, (222, 206, 172), (240, 230, 204), (250, 244, 226)) + _tint(rng, 4)


def _night_sky(rng: np.random.Generator, size: int) -> np.ndarray:
    sky = _blend(_noise(rng, size, 2, 2), (6, 8, 26), (16, 22, 58), (38, 40, 92)) + _tint(rng, 5)
    for _ in range(int(rng.integers(30, 60)) * size // 64):
        y, x = rng.integers(0, size, 2)
        sky[y, x : x + rng.integers(1, 3)] = rng.uniform(170, 255)
    return sky


def _wood(rng: np.random.Generator, size: int) -> np.ndarray:
    plank = int(rng.integers(16, 28))
    columns = np.arange(size)[None, :] + np.zeros((size, 1))
    shade = rng.random(size // plank + 2)[(columns // plank).astype(int)]
    grain = 0.5 + 0.5 * np.sin(columns * rng.uniform(0.9, 1.4) + 9 * _noise(rng, size, 2, 10, 2))
    planks = _blend(0.5 * grain + 0.5 * shade, (92, 56, 28), (146, 96, 52), (188, 138, 86))
    return planks * np.where(columns % plank < 1, 0.45, 1.0)[..., None] + _tint(rng, 8)


def _stone(rng: np.random.Generator, size: int) -> np.ndarray:
    ridge = np.abs(2 * _noise(rng, size, 4, 4, 4) - 1)
    share = 0.7 * np.sqrt(ridge) + 0.3 * _noise(rng, size, 16, 16)
    return _blend(share, (64, 64, 66), (124, 124, 122), (176, 174, 168)) + _tint(rng, 5)


def _snow(rng: np.random.Generator, size: int) -> np.ndarray:
    share = 0.8 * _noise(rng, size, 3, 3) + 0.2 * rng.random((size, size))
    return _blend(share, (196, 212, 236), (228, 236, 248), (252, 253, 255)) + _tint(rng, 3)


def _cloudy_sky(rng: np.random.Generator, size: int) -> np.ndarray:
    clouds = np.clip(2.2 * _noise(rng, size, 3, 2, 4) - 0.75, 0, 1)
    return _blend(clouds, (84, 150, 222), (176, 208, 240), (248, 250, 253)) + _tint(rng, 6)


_MAKERS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "grass": _grass,
    "water": _water,
    "sand": _sand,
    "brick": _brick,
    "paper": _paper,
    "night sky": _night_sky,
    "wood": _wood,
    "stone": _stone,
    "snow": _snow,
    "cloudy sky": _cloudy_sky,
}
