import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from surefoot.data.look_alikes import NO_LOOK, look, look_alikes


def picture(seed, size=(200, 150)):
    """Soft random shapes, as detailed as a photograph at this size."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    fine = Image.fromarray(draw.integers(0, 256, (50, 66, 3), dtype=np.uint8))
    bicubic = Image.Resampling.BICUBIC
    return Image.blend(coarse.resize(size, bicubic), fine.resize(size, bicubic), 0.3)


def compressed(image, quality):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def differing(a, b):
    return (look(a) ^ look(b)).bit_count()


@pytest.mark.parametrize(
    "change",
    [
        lambda image: compressed(image, 30),
        lambda image: image.resize((100, 75), Image.Resampling.LANCZOS),
        lambda image: image.resize((128, 128), Image.Resampling.BICUBIC),
        lambda image: ImageEnhance.Contrast(image).enhance(0.7),
        lambda image: image.convert("L").convert("RGB"),
    ],
    ids=["compressed", "halved", "squeezed", "paler", "grey"],
)
def test_the_same_picture_in_another_file_looks_alike(change):
    assert all(differing(picture(seed), change(picture(seed))) <= 4 for seed in range(20))


def test_other_pictures_and_mirrored_ones_look_different():
    looks = [look(picture(seed)) for seed in range(40)]
    assert min((a ^ b).bit_count() for i, a in enumerate(looks) for b in looks[:i]) > 11
    assert differing(picture(0), picture(0).transpose(Image.Transpose.FLIP_LEFT_RIGHT)) > 11


def test_an_image_of_one_colour_has_no_look():
    assert look(Image.new("RGB", (50, 40), (200, 30, 30))) == NO_LOOK
    found = look_alikes(np.zeros(2, np.uint64), np.zeros(3, np.uint64), bits=4)
    assert len(found.other) == 0


def near_copies(count, *, seed=0):
    """Random hashes, and copies of some with 0 to 13 bits flipped."""
    draw = np.random.default_rng(seed)
    known = draw.integers(1, 2**63, count, dtype=np.uint64)
    other = known[draw.integers(0, count, count)]
    for i in range(count):
        for bit in draw.choice(64, draw.integers(0, 14), replace=False).tolist():
            other[i] ^= np.uint64(1 << bit)
    return known, other


@pytest.mark.parametrize("bits", [0, 1, 3, 4, 7, 8, 11])
def test_the_search_finds_what_comparing_all_with_all_finds(bits):
    known, other = near_copies(400)
    known[7] = known[300] = 0
    distance = np.bitwise_count(known[:, None] ^ other[None]).astype(int)
    distance[known == 0] = 99
    expected = np.flatnonzero(distance.min(0) <= bits)
    found = look_alikes(known, other, bits=bits)
    assert found.other.tolist() == expected.tolist()
    assert found.bits.tolist() == distance.min(0)[expected].tolist()
    assert found.known.tolist() == distance.argmin(0)[expected].tolist()


def test_the_first_of_equal_hashes_is_named():
    known = np.array([5, 9, 9, 2**63 + 1], dtype=np.uint64)
    found = look_alikes(known, np.array([9, 9, 2**63], dtype=np.uint64), bits=1)
    assert list(zip(*found, strict=True)) == [(1, 0, 0), (1, 1, 0), (3, 2, 1)]


def test_empty_sets_have_no_pairs():
    none, one = np.empty(0, np.uint64), np.array([3], dtype=np.uint64)
    assert len(look_alikes(none, one, bits=4).other) == len(look_alikes(one, none, bits=4).other) == 0


@pytest.mark.parametrize("bits", [-1, 12])
def test_too_loose_a_comparison_is_refused(bits):
    with pytest.raises(ValueError, match=f"{bits} bits of a look may not differ; give 0"):
        look_alikes(np.ones(1, np.uint64), np.ones(1, np.uint64), bits=bits)
