import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from surefoot.data.images import (
    Crop,
    ImageSpec,
    Opened,
    UnreadableImage,
    decode,
    evaluation_box,
    evaluation_view,
    normalise,
    open_image,
    random_box,
    to_tensor,
    training_view,
)

SPEC = ImageSpec(size=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5), resize=32)


def noise(width, height, *, low=0, high=256, seed=0):
    pixels = np.random.default_rng(seed).integers(low, high, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def smooth(width, height):
    return noise(8, 8, seed=3).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def draws(*numbers):
    return np.array(numbers, dtype=np.float64)


def difference(a, b):
    return np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).max()


@pytest.mark.parametrize("size", [(500, 375), (300, 300), (224, 224), (100, 60), (640, 231)])
def test_evaluation_matches_transformers_clip_processor(size):
    image = noise(*size)
    theirs = CLIPImageProcessorPil()(image, do_rescale=False, do_normalize=False, return_tensors="pt")["pixel_values"]
    ours = to_tensor(evaluation_view(Opened(image), ImageSpec(224, (0, 0, 0), (1, 1, 1), 224)))
    assert (ours.int() - theirs[0].int()).abs().max() <= 1


@given(st.integers(20, 300), st.integers(20, 300))
@settings(max_examples=25, deadline=None)
def test_evaluation_matches_resize_then_crop_on_any_size(width, height):
    spec = ImageSpec(size=28, mean=(0, 0, 0), std=(1, 1, 1), resize=40)
    image = noise(width, height, low=80, high=176)  # no clipping between Pillow's two passes
    short = min(width, height)
    resized = image.resize((int(40 * width / short), int(40 * height / short)), Image.Resampling.BICUBIC)
    left, top = (resized.width - 28) // 2, (resized.height - 28) // 2
    assert difference(evaluation_view(Opened(image), spec), resized.crop((left, top, left + 28, top + 28))) <= 1


def test_an_image_of_the_right_size_is_left_alone():
    image = noise(32, 32)
    assert difference(evaluation_view(Opened(image), SPEC), image) == 0


def test_normalise_is_the_textbook_formula():
    image = noise(32, 32)
    expected = (np.asarray(image).transpose(2, 0, 1) / 255 - np.reshape(SPEC.mean, (3, 1, 1))) / np.reshape(
        SPEC.std, (3, 1, 1)
    )
    got = normalise(to_tensor(image)[None], SPEC)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got[0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation):
    upright = smooth(64, 48)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that stores it so (Pillow's numbers)
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    for format in ("PNG", "TIFF"):
        opened = open_image(encoded(stored, format, exif=exif))
        assert opened.size == (64, 48)
        assert difference(opened.pixels(), upright) == 0
    opened = open_image(encoded(stored, "JPEG", exif=exif, quality=95, subsampling=0))
    assert difference(evaluation_view(opened, SPEC), evaluation_view(Opened(upright), SPEC)) <= 12


@pytest.mark.parametrize("size", [(900, 700), (1333, 901), (2000, 530), (317, 899)])
def test_a_large_jpeg_decoded_small_looks_the_same(size):
    data = encoded(smooth(*size), "JPEG", quality=95)
    whole = evaluation_view(Opened(decode(data)), SPEC)
    assert decode(data, min_side=32).width < size[0] / 2
    assert difference(evaluation_view(open_image(data), SPEC), whole) <= 6


def test_a_shrunk_jpeg_keeps_the_margin_over_what_the_crop_needs():
    image = decode(encoded(smooth(400, 300), "JPEG"), min_side=100)
    assert image.size == (200, 150)


def test_cmyk_becomes_rgb():
    red = Image.new("CMYK", (40, 40), (0, 255, 255, 0))
    assert difference(decode(encoded(red, "JPEG")), Image.new("RGB", (40, 40), (255, 0, 0))) <= 3


def test_sixteen_bits_are_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    for format in ("PNG", "TIFF"):
        got = np.asarray(decode(encoded(Image.fromarray(ramp), format)))
        np.testing.assert_array_equal(got[..., 0].ravel(), np.arange(256))
        assert (got[..., 0] == got[..., 2]).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_shows_the_background(mode):
    image = Image.new("RGBA", (20, 10), (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 10, 10))
    if mode == "P":
        image = Image.new("P", (20, 10), 1)
        image.paste(0, (0, 0, 10, 10))
        image.putpalette([9, 9, 9, 0, 0, 0])
        data = encoded(image, transparency=0)
    else:
        data = encoded(image.convert(mode))
    got = np.asarray(decode(data, background=(250, 200, 250) if mode != "LA" else (77, 77, 77)))
    assert tuple(got[5, 2]) == ((250, 200, 250) if mode != "LA" else (77, 77, 77))
    assert tuple(got[5, 15]) == (0, 0, 0)


def test_half_transparent_is_half_way():
    got = np.asarray(decode(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 128))), background=(255, 255, 255)))
    assert abs(int(got[0, 0, 0]) - 127) <= 1


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_truncated_file_is_unreadable(format):
    data = encoded(noise(60, 60), format)
    with pytest.raises(UnreadableImage, match=r"dog\.x"):
        open_image(data[: len(data) // 2], name="dog.x").pixels()


def test_a_truncated_jpeg_is_found_at_an_eighth_of_the_size_too():
    data = encoded(noise(600, 600), "JPEG")
    with pytest.raises(UnreadableImage, match="truncated"):
        open_image(data[:-2000], name="dog.jpg").shrunk(8)


@pytest.mark.parametrize(("data", "reason"), [(b"", "0 bytes"), (b"<html>404</html>", "not an image")])
def test_what_is_no_image_is_unreadable_and_says_why(data, reason):
    with pytest.raises(UnreadableImage, match=reason):
        open_image(data, name="cat.jpg")


def test_floating_point_pixels_are_refused():
    with pytest.raises(UnreadableImage, match="floating-point"):
        decode(encoded(Image.new("F", (4, 4), 0.5), "TIFF"))


def test_a_decompression_bomb_is_refused_before_decoding():
    data = encoded(Image.new("1", (3000, 3000)))
    with pytest.raises(UnreadableImage, match="max_pixels=1000000"):
        open_image(data, max_pixels=1_000_000)
    huge = data[:16] + (30_000).to_bytes(4, "big") * 2 + data[24:]  # the header claims 900 million pixels
    with pytest.raises(UnreadableImage, match=r"bomb\.png: .*data\.max_pixels"):
        open_image(huge, name="bomb.png")


unit = st.floats(0, 1, exclude_max=True)
sides = st.integers(1, 400)


@given(sides, sides, st.lists(unit, min_size=41, max_size=41), st.floats(0.05, 1), st.floats(0.2, 1))
@settings(deadline=None)
def test_crops_stay_inside_the_image(width, height, numbers, low, ratio):
    box = random_box(width, height, Crop((low, 1.0), (ratio, 1 / ratio), False, draws(*numbers)))
    assert 0 <= box.left < box.right <= width
    assert 0 <= box.top < box.bottom <= height


@given(sides, sides, st.integers(1, 64), st.integers(0, 64))
def test_evaluation_boxes_stay_inside_the_image(width, height, size, more):
    box = evaluation_box(width, height, ImageSpec(size, (0, 0, 0), (1, 1, 1), size + more))
    assert 0 <= box.left < box.right <= width
    assert 0 <= box.top < box.bottom <= height


def test_crop_areas_fill_the_range_that_was_asked_for():
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(300):
        box = random_box(400, 300, Crop((0.2, 0.6), (3 / 4, 4 / 3), False, rng.random(41)))
        areas.append((box.right - box.left) * (box.bottom - box.top) / 120_000)
    assert 0.19 < min(areas) < 0.23
    assert 0.57 < max(areas) < 0.61


def test_where_no_crop_fits_the_largest_centred_one_is_taken():
    box = random_box(1000, 10, Crop((0.9, 1.0), (3 / 4, 4 / 3), False, np.full(41, 0.5)))
    assert box == (493, 0, 506, 10)


def test_the_whole_image_is_cropped_at_scale_one():
    image = noise(32, 32)
    crop = Crop((1.0, 1.0), (1.0, 1.0), False, draws(*[0.3] * 41))
    assert difference(training_view(Opened(image), SPEC, crop), image) == 0


def test_flip_mirrors_half_of_the_draws():
    image = noise(32, 32)
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for first, expected in ((0.49, mirrored), (0.51, image)):
        crop = Crop((1.0, 1.0), (1.0, 1.0), True, draws(first, *[0.3] * 40))
        assert difference(training_view(Opened(image), SPEC, crop), expected) == 0


def test_a_spec_whose_crop_is_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match="resize 200"):
        ImageSpec(224, (0, 0, 0), (1, 1, 1), 200)
