"""One image file becomes one uint8 tensor: decoding, the evaluation transform, the training crop.

No torchvision. A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where the crop that is wanted still has
`MARGIN` times the pixels that the result needs. Order, randomness and batching belong to `batch`.
"""

import io
import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError
from torch import Tensor

MARGIN = 1.5  # of 8-bit grey levels, the mean difference from decoding in full is then about 0.3
SMALL = 128 * 128  # pixels; decoding costs more than cropping, and thousands of images fit into memory
WHITE = (255, 255, 255)
PILLOW_LIMIT = Image.MAX_IMAGE_PIXELS or 89_478_485  # beyond it Pillow warns of a decompression bomb
ORIENTATION_TAG = 0x0112
UPRIGHT = {  # EXIF orientation -> what makes the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


Filter = Literal["bicubic", "bilinear"]
FILTERS = MappingProxyType({"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR})


class UnreadableImage(ValueError):  # noqa: N818
    """An image file that cannot be decoded: truncated, empty, no image at all, or too large."""


class TooManyPixels(UnreadableImage):
    """An image with more pixels than `data.max_pixels` allows: another limit would let it in."""


@dataclass(frozen=True)
class ImageSpec:
    """What an image tower wants: a `size` x `size` crop of an image whose short side was made `resize`, normalised.

    With fit "squash" it is the whole image, pressed into the square whatever its proportions (SigLIP).
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: int
    fit: Literal["crop", "squash"] = "crop"
    filter: Filter = "bicubic"

    def __post_init__(self) -> None:
        if self.size < 1 or self.resize < self.size:
            raise ValueError(f"ImageSpec: size {self.size} and resize {self.resize} need 1 <= size <= resize")
        if not all(s > 0 for s in self.std):
            raise ValueError(f"ImageSpec: std {self.std} must be positive")


class Box(NamedTuple):
    """A rectangle of an upright image, in pixels, right and bottom excluded."""

    left: float
    top: float
    right: float
    bottom: float


class Crop(NamedTuple):
    """How a training image is cut out: the area share and aspect-ratio ranges, and uniform draws in [0, 1).

    `draws` holds one number for the flip, then four for each try to fit a rectangle into the image.
    """

    scale: tuple[float, float]
    ratio: tuple[float, float]
    flip: bool
    draws: NDArray[np.float64]  # (1 + 4 * tries,)


def evaluation_box(width: int, height: int, spec: ImageSpec) -> Box:
    """The part of an image that survives "short side to `spec.resize`, then centre crop of `spec.size`", or all of it.

    The long side is rounded down and the crop starts at a whole pixel of the resized image, as in transformers'
    `CLIPImageProcessor`; the box is exact, so resizing it alone gives the same pixels to a rounding level. (Pillow may
    resize the two axes in the other order; then hard black-and-white edges, which it clips in between, differ more.)
    """
    if spec.fit == "squash":
        return Box(0, 0, width, height)
    short = min(width, height)
    new_width, new_height = int(spec.resize * width / short), int(spec.resize * height / short)
    left, top = (new_width - spec.size) // 2, (new_height - spec.size) // 2
    x, y = width / new_width, height / new_height  # source pixels for one pixel of the resized image
    return Box(left * x, top * y, min((left + spec.size) * x, width), min((top + spec.size) * y, height))


def random_box(width: int, height: int, crop: Crop) -> Box:
    """A rectangle of random area and aspect ratio at a random place; "random resized crop" of Inception training.

    As usual, where no try fits, the largest centred rectangle within the ratio range is taken.
    """
    low, high = math.log(crop.ratio[0]), math.log(crop.ratio[1])
    for u_area, u_ratio, u_left, u_top in crop.draws[1:].reshape(-1, 4).tolist():
        area = width * height * (crop.scale[0] + u_area * (crop.scale[1] - crop.scale[0]))
        ratio = math.exp(low + u_ratio * (high - low))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(u_left * (width - w + 1)), int(u_top * (height - h + 1))
            return Box(left, top, left + w, top + h)
    ratio = min(max(width / height, crop.ratio[0]), crop.ratio[1])
    w, h = max(1, min(width, round(height * ratio))), max(1, min(height, round(width / ratio)))
    left, top = (width - w) // 2, (height - h) // 2
    return Box(left, top, left + w, top + h)


class Opened:
    """An image whose upright size is known; the pixels of a file are decoded once, when they are asked for."""

    def __init__(self, image: Image.Image, *, name: str = "image", max_pixels: int = PILLOW_LIMIT) -> None:
        width, height = image.size
        if width * height > max_pixels:
            raise TooManyPixels(
                f"{name}: {width} x {height} pixels are more than data.max_pixels={max_pixels}; "
                "shrink the image, or raise the limit if the file is to be trusted"
            )
        # TIFF files are made upright by Pillow itself, and tell the upright size
        turned = 1 if isinstance(image, TiffImagePlugin.TiffImageFile) else image.getexif().get(ORIENTATION_TAG, 1)
        self.name = name
        self.size = (height, width) if turned in (5, 6, 7, 8) else (width, height)
        self._image = image
        self._upright = UPRIGHT.get(turned)

    def pixels(self, *, background: tuple[int, int, int] = WHITE) -> Image.Image:
        """The whole image, upright RGB."""
        return self.shrunk(1, background=background)[0]

    @property
    def is_small(self) -> bool:
        return self.size[0] * self.size[1] <= SMALL

    def keep_pixels(self, *, background: tuple[int, int, int] = WHITE) -> None:
        """Decode now and for good, so that further crops cost no decoding."""
        self._image, self._upright = self.pixels(background=background), None

    def crop(
        self, box: Box, size: int, *, background: tuple[int, int, int] = WHITE, resample: Filter = "bicubic"
    ) -> Image.Image:
        """Cut `box` out and resize it to `size` x `size`, antialiased, in one call."""
        image, shrink = self.shrunk(
            min(box.right - box.left, box.bottom - box.top) / (size * MARGIN), background=background
        )
        inside = (box.left / shrink, box.top / shrink, box.right / shrink, box.bottom / shrink)
        return image.resize((size, size), FILTERS[resample], box=inside)

    def shrunk(self, room: float, *, background: tuple[int, int, int] = WHITE) -> tuple[Image.Image, int]:
        """The upright RGB image, shrunk by at most `room` if it is a JPEG, and by how much (1, 2, 4 or 8)."""
        shrink = 1
        try:
            if room >= 2 and isinstance(self._image, JpegImagePlugin.JpegImageFile):
                width, height = self._image.size
                wanted = next(s for s in (8, 4, 2) if s <= room)
                drafted = self._image.draft("RGB", (max(1, width // wanted), max(1, height // wanted)))
                shrink = 1 if drafted is None else round(width / drafted[1][2])
            image = _to_rgb(self._image, background)
        except Exception as error:  # Pillow's decoders raise nearly anything on a broken file
            raise UnreadableImage(f"{self.name}: {_reason(error)}") from error
        return (image if self._upright is None else image.transpose(self._upright)), shrink


def open_image(data: bytes, *, name: str = "image", max_pixels: int = PILLOW_LIMIT) -> Opened:
    """Read an image file's header; raises UnreadableImage."""
    if not data:
        raise UnreadableImage(f"{name}: the file is empty (0 bytes)")
    try:
        return Opened(Image.open(io.BytesIO(data)), name=name, max_pixels=max_pixels)
    except UnreadableImage:
        raise
    except Image.DecompressionBombError as error:  # Pillow's own limit, twice that of its warning
        raise UnreadableImage(
            f"{name}: {error}. The header claims more pixels than any data.max_pixels allows; shrink the image"
        ) from error
    except Exception as error:  # as above
        raise UnreadableImage(f"{name}: {_reason(error)}") from error


def decode(
    data: bytes, *, min_side: int = 0, background: tuple[int, int, int] = WHITE, max_pixels: int = PILLOW_LIMIT
) -> Image.Image:
    """The upright RGB image of a file; raises UnreadableImage.

    `min_side` > 0 lets a JPEG be decoded smaller, as long as its short side keeps `MARGIN` times that many pixels.
    Transparent parts show `background`.
    """
    opened = open_image(data, max_pixels=max_pixels)
    return opened.shrunk(min(opened.size) / (min_side * MARGIN) if min_side else 1, background=background)[0]


def evaluation_view(opened: Opened, spec: ImageSpec, *, background: tuple[int, int, int] = WHITE) -> Image.Image:
    """The evaluation transform: short side to `spec.resize`, centre crop of `spec.size`; or the whole image."""
    box = evaluation_box(*opened.size, spec)
    return opened.crop(box, spec.size, background=background, resample=spec.filter)


def training_view(
    opened: Opened, spec: ImageSpec, crop: Crop, *, background: tuple[int, int, int] = WHITE
) -> Image.Image:
    """The training transform: a random crop resized to `spec.size`, and a mirror image half the time if `crop.flip`."""
    image = opened.crop(random_box(*opened.size, crop), spec.size, background=background, resample=spec.filter)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if crop.flip and crop.draws[0] < 0.5 else image


def to_tensor(image: Image.Image) -> Tensor:
    """An RGB image as uint8 (3, height, width)."""
    return torch.from_numpy(np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1)))


def normalise(images: Tensor, spec: ImageSpec) -> Tensor:
    """uint8 (B, 3, H, W) -> float32 (B, 3, H, W): (value / 255 - mean) / std a channel."""
    mean = torch.tensor(spec.mean, device=images.device).mul(255).view(3, 1, 1)
    std = torch.tensor(spec.std, device=images.device).mul(255).view(3, 1, 1)
    return images.to(torch.float32, copy=True).sub_(mean).div_(std)  # uint8 minus float is 10 times slower on a CPU


def _to_rgb(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        image.load()
        return image
    if image.mode.startswith("I;16") or image.mode == "I":
        return _from_integers(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed range; save the image with 8 or 16 bits")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGBA", rgba.size, (*background, 255))
        return Image.alpha_composite(canvas, rgba).convert("RGB")
    return image.convert("RGB")


def _from_integers(image: Image.Image) -> Image.Image:
    """16-bit grey to 8-bit RGB: 65535 becomes 255 (Pillow's own conversion would clip or cut)."""
    grey = np.asarray(image).astype(np.float64)
    if grey.min() < 0 or grey.max() > 65535:
        raise ValueError(f"pixels from {grey.min():.0f} to {grey.max():.0f}; integer images may use 0 to 65535")
    return Image.fromarray(np.round(grey / 257).astype(np.uint8)).convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or a format that is not supported"
    return str(error) or type(error).__name__
