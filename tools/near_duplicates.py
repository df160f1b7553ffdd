"""Find pictures that are nearly the same drawing: first by perceptual hash, then by their pixels."""

import numpy as np
from PIL import Image
from scipy.fft import dctn

HASH_DISTANCE = 12  # of 63 bits
PIXEL_CORRELATION = 0.9


def darkness(pixels: np.ndarray) -> np.ndarray:
    """Return (H, W) ink in 0..255: alpha of a monochrome picture, else how dark the picture is on white."""
    if pixels.ndim == 2:
        return pixels.astype(np.float32)
    alpha = pixels[..., 3].astype(np.float32) / 255
    grey = pixels[..., :3].astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return np.maximum(alpha * (255 - grey), alpha * 40)


class Signatures:
    """Hashes and small crops of many pictures, independent of margin and size."""

    def __init__(self, pictures):
        hashes, crops = [], []
        for pixels in pictures:
            crop = _cropped(darkness(pixels))
            waves = dctn(crop, norm="ortho")[:8, :8].ravel()[1:]
            hashes.append(np.packbits(waves > np.median(waves), bitorder="little").view(np.uint64)[0])
            small = crop.reshape(16, 2, 16, 2).mean((1, 3)).ravel()
            small = small - small.mean()
            crops.append((small / (np.linalg.norm(small) + 1e-6)).astype(np.float16))
        self.hashes = np.array(hashes, dtype=np.uint64)
        self.crops = np.stack(crops)

    def near(self, other: "Signatures", row: int) -> np.ndarray:
        """Return the rows of this collection that nearly equal picture `row` of the other one."""
        distance = np.bitwise_count(self.hashes ^ other.hashes[row])
        rows = np.flatnonzero(distance <= HASH_DISTANCE)
        correlation = self.crops[rows].astype(np.float32) @ other.crops[row].astype(np.float32)
        return rows[correlation >= PIXEL_CORRELATION]


def _cropped(ink: np.ndarray) -> np.ndarray:
    """Return the picture cut to its ink and scaled to 32 x 32 with its proportions kept."""
    rows, columns = np.flatnonzero(ink.max(1) > 60), np.flatnonzero(ink.max(0) > 60)
    if len(rows) == 0:
        return np.zeros((32, 32), dtype=np.float32)
    crop = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = max(crop.shape)
    square = np.zeros((side, side), dtype=np.float32)
    top, left = (side - crop.shape[0]) // 2, (side - crop.shape[1]) // 2
    square[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    return np.asarray(Image.fromarray(square).resize((32, 32), Image.Resampling.BILINEAR))
