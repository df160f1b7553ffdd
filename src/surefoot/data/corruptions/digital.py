"""Changes of colour, shape and coding. x is the picture (H, W, 3), values from 0 to 1."""

import io

import numpy as np
from PIL import Image

from surefoot.data.corruptions.filters import sampled, wide_blur
from surefoot.data.corruptions.picture import Floats, Setting


def brightness(x: Floats, setting: Setting) -> Floats:
    """The value of HSV plus c, at most 1; hue and saturation stay. Values: c."""
    (more,) = setting.values
    value = x.max(axis=-1, keepdims=True)
    wanted = np.minimum(value + np.float32(more), 1)
    # at one hue and saturation, red, green and blue are in proportion to the value
    return np.asarray(np.where(value > 0, x * (wanted / np.maximum(value, np.float32(1e-6))), wanted))


def saturate(x: Floats, setting: Setting) -> Floats:
    """The saturation of HSV times a plus b, at most 1; hue and value stay. Values: a, b.

    The hue of grey is 0, as usual, so that with b > 0 grey and white become reddish; the published images show it too.
    """
    times, plus = setting.values
    value, least = x.max(axis=-1, keepdims=True), x.min(axis=-1, keepdims=True)
    chroma = value - least
    saturation = chroma / np.maximum(value, np.float32(1e-6))
    wanted = np.clip(saturation * np.float32(times) + np.float32(plus), 0, 1)
    red = np.array([0, 1, 1], dtype=np.float32)  # how far below its value each channel of a pure red lies
    below = np.where(chroma > 0, (value - x) / np.maximum(chroma, np.float32(1e-6)), red)
    return np.asarray(value * (1 - wanted * below))


def contrast(x: Floats, setting: Setting) -> Floats:
    """(x - mean) c + mean, with the mean of each channel. Values: c."""
    (left,) = setting.values
    mean = x.mean(axis=(0, 1), keepdims=True, dtype=np.float64).astype(np.float32)
    return np.asarray((x - mean) * np.float32(left) + mean)


def pixelate(x: Floats, setting: Setting) -> Floats:
    """Shrunk and enlarged again, by the mean over boxes. Values: the share of the side that is left in between."""
    (left,) = setting.values
    height, width = x.shape[:2]
    small = _image(x).resize((max(1, int(width * left)), max(1, int(height * left))), Image.Resampling.BOX)
    return _floats(small.resize((width, height), Image.Resampling.BOX))


def jpeg_compression(x: Floats, setting: Setting) -> Floats:
    """Written as JPEG and read again. Values: the quality of libjpeg."""
    (quality,) = setting.values
    file = io.BytesIO()
    _image(x).save(file, "JPEG", quality=int(quality))
    with Image.open(file) as image:
        return _floats(image)


def elastic_transform(x: Floats, setting: Setting) -> Floats:
    """A random affine map and a random smooth displacement of every pixel; mirrored at the border.

    Values, in pixels: how far the displacement reaches before it is smoothed, the deviation of that smoothing, how far
    the three points that give the affine map are moved. Departure: both at once, where the authors interpolate twice.
    """
    far, sigma, moved = setting.values
    height, width = x.shape[:2]
    middle, third = np.array([width // 2, height // 2]), max(1, min(height, width) // 3)
    corners = middle + third * np.array([[1, 1], [1, -1], [-1, -1]])  # (3, 2), x and y
    away = corners + moved * setting.scale * (2 * setting.chance.uniform(3, 2) - 1)
    back = np.linalg.solve(np.hstack([away, np.ones((3, 1))]), corners)  # (3, 2): from the result's places to x's
    down, right = np.mgrid[:height, :width].astype(np.float64)
    if far > 0:
        across, along = 2 * setting.chance.uniform(2, height, width) - 1
        # smoothed noise is the weaker the wider it is smoothed, hence the square
        reach = far * setting.scale**2
        right += reach * wide_blur(across.astype(np.float32), sigma * setting.scale, truncate=3)
        down += reach * wide_blur(along.astype(np.float32), sigma * setting.scale, truncate=3)
    from_x, from_y = (right * back[0, axis] + down * back[1, axis] + back[2, axis] for axis in (0, 1))
    return sampled(x, from_y, from_x)


def _image(x: Floats) -> Image.Image:
    return Image.fromarray(np.rint(x * 255).astype(np.uint8))


def _floats(image: Image.Image) -> Floats:
    return np.asarray(image, dtype=np.float32) / np.float32(255)
