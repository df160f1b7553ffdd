"""Noise: every value of every channel is changed on its own. x is the picture (H, W, 3), values from 0 to 1."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from surefoot.data.corruptions.picture import Floats, Setting


def gaussian_noise(x: Floats, setting: Setting) -> Floats:
    """x + N(0, sigma). Values: sigma."""
    (sigma,) = setting.values
    return x + np.float32(sigma) * setting.chance.normal(*x.shape)


def speckle_noise(x: Floats, setting: Setting) -> Floats:
    """x + x N(0, sigma). Values: sigma."""
    (sigma,) = setting.values
    return x + np.float32(sigma) * x * setting.chance.normal(*x.shape)


def shot_noise(x: Floats, setting: Setting) -> Floats:
    """Poisson(x c) / c: light counted in few photons. Values: c, the photons of white."""
    (photons,) = setting.values
    table = poisson_table(photons)
    levels = np.rint(x * 255).astype(np.int64)
    drawn = setting.chance.uniform(*x.shape)
    # row v of the table is shifted by v, so that one sorted array serves all 256 levels
    places = np.searchsorted(table.ravel(), (levels + drawn).ravel(), side="right").reshape(x.shape)
    return np.asarray((places - levels * table.shape[1]) / photons, dtype=np.float32)


def impulse_noise(x: Floats, setting: Setting) -> Floats:
    """A share of all values becomes 0 or 1, half of it each ("salt and pepper"). Values: the share."""
    (share,) = setting.values
    drawn = setting.chance.uniform(*x.shape)
    return np.asarray(np.where(drawn < share / 2, np.float32(0), np.where(drawn < share, np.float32(1), x)))


@lru_cache(maxsize=15)
def poisson_table(photons: float) -> NDArray[np.float64]:
    """(256, K): v + P(Poisson(photons v / 255) <= k) in row v, column k; the last column is v + 1."""
    means = photons * np.arange(256)[:, None] / 255
    counts = np.arange(int(photons + 10 * np.sqrt(photons)) + 10)
    factorials = np.concatenate([[0.0], np.cumsum(np.log(counts[1:]))])
    likely = np.exp(counts * np.log(np.maximum(means, 1e-300)) - means - factorials)  # (256, K)
    table = np.minimum(np.cumsum(likely, axis=1), 1.0)
    table[:, -1] = 1.0
    return np.asarray(table + np.arange(256)[:, None])
