"""Kernels and convolutions for pictures, by Fourier transform: their cost hardly depends on the kernel's size."""

import math
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from surefoot.data.corruptions.picture import Floats

Border = Literal["edge", "reflect", "constant"]
"""What lies beyond the picture: its last pixel, its mirror image without that pixel, or 0."""


def gaussian_weights(sigma: float, *, truncate: float = 4.0) -> NDArray[np.float64]:
    """A Gaussian of deviation `sigma` pixels, cut off `truncate` deviations from its centre; the sum is 1."""
    reach = int(truncate * sigma + 0.5)
    at = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (at / sigma) ** 2) if sigma > 0 else np.ones(1)
    return np.asarray(weights / weights.sum())


@lru_cache(maxsize=64)
def gaussian_kernel(sigma: float) -> Floats:
    """The round Gaussian of deviation `sigma`, (n, n), n odd."""
    weights = gaussian_weights(sigma)
    return np.outer(weights, weights).astype(np.float32)


@lru_cache(maxsize=64)
def disk_kernel(radius: float, edge: float) -> Floats:
    """A disk of `radius` pixels, its rim softened by a Gaussian of deviation `edge` over 3 pixels (5 beyond radius 8).

    The published one: pixels whose centre lies within the radius, all alike, then the Gaussian; the sum is 1.
    """
    reach = max(8, math.ceil(radius))
    at = np.arange(-reach - 2, reach + 3)  # two more for what the Gaussian spreads
    disk = (at[:, None] ** 2 + at**2 <= radius**2).astype(np.float64)
    near = np.arange(-1, 2) if radius <= 8 else np.arange(-2, 3)
    weights = np.exp(-0.5 * (near / edge) ** 2)
    for axis in (0, 1):
        disk = np.asarray(sum(w * np.roll(disk, shift, axis) for w, shift in zip(weights, near.tolist(), strict=True)))
    return np.asarray(disk / disk.sum(), dtype=np.float32)


def correlated(x: Floats, kernel: Floats, *, border: Border) -> Floats:
    """Each pixel of x (H, W) or (H, W, C) as the sum of its surroundings times `kernel` (n, n), n odd."""
    reach_y, reach_x = kernel.shape[0] // 2, kernel.shape[1] // 2
    if reach_y == reach_x == 0:
        return np.asarray(x * kernel[0, 0])
    layers = np.moveaxis(x, -1, 0) if x.ndim == 3 else x[None]
    padded = np.pad(layers, ((0, 0), (reach_y, reach_y), (reach_x, reach_x)), mode=border)
    shape = (_quick(padded.shape[1]), _quick(padded.shape[2]))
    spectrum = np.fft.rfft2(padded, shape) * np.conj(np.fft.rfft2(kernel, shape))
    found = np.fft.irfft2(spectrum, shape)[:, : x.shape[0], : x.shape[1]].astype(np.float32)
    return np.ascontiguousarray(np.moveaxis(found, 0, -1)) if x.ndim == 3 else found[0]


def blurred(x: Floats, sigma: float) -> Floats:
    """Gaussian blur of deviation `sigma` pixels; beyond the border lies the last pixel."""
    return correlated(x, gaussian_kernel(sigma), border="edge")


def wide_blur(field: Floats, sigma: float, *, truncate: float) -> Floats:
    """Gaussian blur of a layer (H, W), which goes on as its mirror image; `sigma` may be larger than the layer.

    Exact: layer and mirror image repeat every 2 H and 2 W pixels, and so the kernel is wound around that.
    """
    weights = gaussian_weights(sigma, truncate=truncate)
    spectrum = np.fft.rfft2(np.pad(field, ((0, field.shape[0]), (0, field.shape[1])), mode="symmetric"))
    for axis in (0, 1):
        period = 2 * field.shape[axis]
        wound = np.zeros(period)
        np.add.at(wound, (np.arange(len(weights)) - len(weights) // 2) % period, weights)
        response = np.fft.fft(wound).real[: spectrum.shape[axis]]
        spectrum = spectrum * (response[:, None] if axis == 0 else response)
    height, width = field.shape
    return np.fft.irfft2(spectrum, (2 * height, 2 * width))[:height, :width].astype(np.float32)


def motion_blurred(x: Floats, radius: float, sigma: float, *, angle: float) -> Floats:
    """Blur along a line: pixel (y, x) becomes the mean of those at 0, 1, 2, ... pixels from it in direction `angle`.

    Degrees, 0 is to the right and 90 down. Weights fall as half a Gaussian of deviation `sigma` and end after
    2 ceil(radius) pixels; places are rounded to whole pixels, and beyond the border lies the last pixel. So does
    ImageMagick, with which the published images were made.
    """
    steps = np.arange(2 * math.ceil(radius) + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2) if sigma > 0 else (steps == 0).astype(np.float64)
    weights = (weights / weights.sum()).astype(np.float32)
    down = np.ceil(steps * math.sin(math.radians(angle)) - 0.5).astype(int)
    right = np.ceil(steps * math.cos(math.radians(angle)) - 0.5).astype(int)
    (top, bottom), (left, rest) = ((max(0, -int(way.min())), max(0, int(way.max()))) for way in (down, right))
    height, width = x.shape[:2]
    padded = np.pad(x, ((top, bottom), (left, rest), *[(0, 0)] * (x.ndim - 2)), mode="edge")
    found = np.zeros_like(x)
    for weight, y, z in zip(weights, (top + down).tolist(), (left + right).tolist(), strict=True):
        found += weight * padded[y : y + height, z : z + width]
    return found


def sampled(x: Floats, down: NDArray[np.float64], right: NDArray[np.float64]) -> Floats:
    """The values of x (H, W) or (H, W, C) at rows `down` and columns `right`, (h, w) each, between pixels bilinear.

    Beyond the border lies the mirror image, without the last pixel.
    """
    height, width = x.shape[:2]
    y, z = _folded(down, height), _folded(right, width)
    top, left = np.floor(y).astype(np.int64), np.floor(z).astype(np.int64)
    shape = (*y.shape, *[1] * (x.ndim - 2))
    low, far = ((at - whole).astype(np.float32).reshape(shape) for at, whole in ((y, top), (z, left)))
    below, beside = np.minimum(top + 1, height - 1) * width, np.minimum(left + 1, width - 1)
    pixels, top = x.reshape(height * width, *x.shape[2:]), top * width
    upper = pixels[top + left] * (1 - far) + pixels[top + beside] * far
    lower = pixels[below + left] * (1 - far) + pixels[below + beside] * far
    return np.asarray(upper * (1 - low) + lower * low)


def stretched(layer: Floats, height: int, width: int) -> Floats:
    """A layer (h, w) enlarged to (height, width), corner to corner, between its values bilinear."""
    down = np.linspace(0, layer.shape[0] - 1, height)[:, None]
    right = np.linspace(0, layer.shape[1] - 1, width)
    return sampled(layer, np.broadcast_to(down, (height, width)), np.broadcast_to(right, (height, width)))


def _folded(at: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Places on an axis of so many pixels, with those beyond its ends mirrored back."""
    if length == 1:
        return np.zeros_like(at)
    period = 2 * (length - 1)
    inside = np.abs(at) % period
    return np.asarray(np.minimum(inside, period - inside))


def _quick(length: int) -> int:
    """The next length that a Fourier transform is quick for."""
    step = 1 << max(0, length.bit_length() - 4)
    return -(-length // step) * step
