"""A corruption as what is done to each image of a split: cut to size first, then corrupted, by position."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from surefoot.data.corruptions.corrupting import corrupt
from surefoot.data.corruptions.picture import Chance
from surefoot.data.images import ImageSpec, evaluation_box
from surefoot.data.task import Alter

ENLARGED_FROM = 128  # pixels of the short side; smaller pictures stay as they are
RESIZE = 256 / 224  # short side over what is cut out of it, as ImageNet-C was made


@dataclass(frozen=True)
class Corrupted:
    """Alters images by one corruption; see `Alter`.

    An image gets one of `severities`: every len(severities) neighbours get all of them, in an order drawn for each such
    block. `size` > 0: the short side is made 256/224 of it and the centre `size` x `size` cut out, as ImageNet-C was
    made, but for images whose short side is below 128. `before` is done to the image before all that.
    """

    corruption: str
    severities: tuple[int, ...]
    size: int = 224
    seed: int = 0
    before: Alter | None = None

    @property
    def name(self) -> str:
        first = "" if self.before is None else f"{self.before.name}, then "
        levels = ",".join(map(str, self.severities))
        return f"{first}{self.corruption} of severity {levels}, size {self.size}, seed {self.seed}"

    def __call__(self, image: Image.Image, index: int) -> Image.Image:
        altered = image if self.before is None else self.before(image, index)
        pixels = np.asarray(cut(altered, self.size))
        return Image.fromarray(corrupt(pixels, self.corruption, self.severity(index), index=index, seed=self.seed))

    def severity(self, index: int) -> int:
        """Of the image at this position."""
        count = len(self.severities)
        if count == 1:
            return self.severities[0]
        block, place = divmod(index, count)
        drawn = Chance(self.seed, self.corruption, 0, index=block).uniform(count)
        return self.severities[int(np.argsort(drawn, kind="stable")[place])]


def cut(image: Image.Image, size: int) -> Image.Image:
    """The centre of an image, size x size, bilinear; the image itself where it is small or `size` is 0."""
    if size == 0 or min(image.size) < ENLARGED_FROM:
        return image
    box = evaluation_box(*image.size, ImageSpec(size, (0, 0, 0), (1, 1, 1), round(RESIZE * size)))
    return image.resize((size, size), Image.Resampling.BILINEAR, box=box)
