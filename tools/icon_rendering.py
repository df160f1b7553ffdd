"""Draw an icon's SVG as pixels: colour and alpha, centred in a square."""

import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import resvg_py
from PIL import Image

from icon_catalogue import Icon


def render(svg: str, size: int) -> np.ndarray | None:
    """Return the picture as (size, size, 4) bytes, or None where it is empty or cannot be drawn."""
    try:
        png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size))
    except ValueError:
        return None
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    if picture.size != (size, size):
        square = Image.new("RGBA", (size, size))
        picture.thumbnail((size, size), Image.Resampling.LANCZOS)
        square.paste(picture, ((size - picture.width) // 2, (size - picture.height) // 2))
        picture = square
    pixels = np.asarray(picture)
    return pixels if pixels[..., 3].max() > 127 else None


def render_all(icons: Iterable[Icon], size: int, workers: int) -> Iterator[tuple[Icon, np.ndarray]]:
    """Yield each icon that can be drawn with its pixels, in the given order."""
    icons = list(icons)
    with ProcessPoolExecutor(workers) as pool:
        drawn = pool.map(render, [icon.svg for icon in icons], [size] * len(icons), chunksize=256)
        yield from ((icon, pixels) for icon, pixels in zip(icons, drawn, strict=True) if pixels is not None)


def on_white(pixels: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) bytes: the picture laid on white."""
    alpha = pixels[..., 3:].astype(np.float32) / 255
    return np.rint(pixels[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def stroke_style(alpha: np.ndarray) -> str:
    """Return "line" or "solid" by how much ink remains when three pixels are peeled off the shape's edge."""
    ink = alpha > 127
    core = ink
    for _ in range(3):
        padded = np.pad(core, 1)
        core = padded[1:-1, 1:-1] & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return "solid" if core.sum() > 0.12 * ink.sum() else "line"
