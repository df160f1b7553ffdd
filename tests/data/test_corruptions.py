"""The common corruptions against their definitions, computed another way: scipy, colorsys, plain loops, Pillow."""

import colorsys
import io
import math
import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage, stats
from sklearn.datasets import load_sample_image

from surefoot.data.corruptions import ALL, COMMON, EXTRA, Corrupted, corrupt, names_of
from surefoot.data.corruptions.altering import cut
from surefoot.data.corruptions.blur import shuffled_places
from surefoot.data.corruptions.corrupting import FUNCTIONS
from surefoot.data.corruptions.filters import (
    blurred,
    correlated,
    disk_kernel,
    gaussian_kernel,
    motion_blurred,
    sampled,
    stretched,
    wide_blur,
)
from surefoot.data.corruptions.noise import poisson_table
from surefoot.data.corruptions.picture import Chance, Setting
from surefoot.data.corruptions.tables import TABLES, table_size
from surefoot.data.corruptions.weather import distance, ice, plasma

LEVELS = 1 / 255
FARTHER = ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "gaussian_blur", "defocus_blur")
FARTHER += ("motion_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression")
"""Corruptions each of whose severities means a larger distance from the clean picture, by the published numbers."""


def chance(index=0):
    return Chance(0, "test", 1, index=index)


def photo(size):
    image = cut(Image.fromarray(load_sample_image("china.jpg")), 224)
    return np.asarray(image.resize((size, size), Image.Resampling.BOX) if size < 224 else image)


@pytest.fixture(scope="module")
def china():
    return photo(224)


def grey(level, size=224):
    return np.full((size, size, 3), level, dtype=np.uint8)


def noisy(*shape):
    return np.random.default_rng(0).random(shape, dtype=np.float32)


# names, tables


def test_there_are_fifteen_common_and_four_extra_corruptions():
    assert (len(COMMON), len(EXTRA), len(set(ALL))) == (15, 4, 19)
    assert EXTRA == ("speckle_noise", "gaussian_blur", "spatter", "saturate")
    assert names_of("all") == ALL
    assert names_of("extra, fog") == ("fog", *EXTRA)
    assert names_of(["saturate", "fog", "fog"]) == ("fog", "saturate")
    with pytest.raises(ValueError, match=r"no corruption 'gausian noise'; did you mean gaussian_noise\?"):
        names_of(["gausian noise"])


def test_every_table_has_five_rows_of_one_length_for_every_corruption():
    for table in TABLES.values():
        assert set(table) == set(ALL)
        for name, rows in table.items():
            assert {len(row) for row in rows} == {len(TABLES[224][name][0])}
            assert len(rows) == 5


def test_the_short_side_chooses_the_table():
    assert [table_size(short) for short in (500, 224, 128, 127, 64, 48, 47, 1)] == [224, 224, 224, 64, 64, 64, 32, 32]


@pytest.mark.parametrize(
    ("pixels", "name", "severity", "message"),
    [
        (grey(0), "fogg", 1, r"did you mean fog\?"),
        (grey(0), "fog", 0, "severity is 0; choose 1 to 5"),
        (grey(0), "fog", 6, "choose 1 to 5"),
        (grey(0)[..., 0], "fog", 1, r"shape \(224, 224\)"),
        (grey(0).astype(float), "fog", 1, "float64"),
        (grey(0)[:0], "fog", 1, r"\(0, 224, 3\)"),
    ],
)
def test_what_cannot_be_corrupted_is_refused(pixels, name, severity, message):
    with pytest.raises(ValueError, match=message):
        corrupt(pixels, name, severity)


# all of them


@pytest.mark.parametrize("name", ALL)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 5), st.integers(0, 10**6))
@example(1, 1, 5, 0)
@example(1, 300, 1, 0)
@example(2, 3, 3, 0)
@settings(max_examples=8, deadline=None)
def test_a_picture_of_any_size_keeps_shape_and_type_and_is_left_alone(name, height, width, severity, index):
    pixels = (noisy(height, width, 3) * 255).astype(np.uint8)
    before = pixels.copy()
    found = corrupt(pixels, name, severity, index=index)
    assert (found.shape, found.dtype) == (pixels.shape, np.uint8)
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize("name", ALL)
def test_black_and_white_pictures_give_numbers(name, level):
    with np.errstate(all="raise", under="ignore"):
        for severity in (1, 5):
            assert corrupt(grey(level, 64), name, severity).shape == (64, 64, 3)


@pytest.mark.parametrize("name", ALL)
def test_chance_depends_on_seed_severity_and_index_only(name):
    pixels = photo(64)
    np.random.seed(1)
    first = corrupt(pixels, name, 3, index=4, seed=2)
    corrupt(pixels, name, 3, index=5)
    np.random.seed(2)
    assert np.array_equal(first, corrupt(pixels, name, 3, index=4, seed=2))
    fixed = name in ("defocus_blur", "zoom_blur", "gaussian_blur", *("brightness", "contrast", "saturate"))
    fixed = fixed or name in ("pixelate", "jpeg_compression")
    assert np.array_equal(first, corrupt(pixels, name, 3, index=5, seed=2)) == fixed
    assert np.array_equal(first, corrupt(pixels, name, 3, index=4, seed=3)) == fixed


@pytest.mark.parametrize("size", [224, 64, 32])
@pytest.mark.parametrize("name", FARTHER)
def test_a_higher_severity_is_farther_from_the_clean_picture(name, size):
    pixels = photo(size).astype(np.float64)
    far = [
        np.mean([np.abs(corrupt(photo(size), name, s, index=i) - pixels).mean() for i in range(4)]) for s in range(1, 6)
    ]
    assert all(low < 1.05 * high for low, high in pairwise(far)), far  # some rows differ little, and chance more
    assert far[-1] > 1.3 * far[0]


@pytest.mark.parametrize("size", [224, 64, 32])
@pytest.mark.parametrize("name", sorted(set(ALL) - {*FARTHER, "saturate", "elastic_transform"}))
def test_the_highest_severity_of_the_others_is_farther_than_the_lowest(name, size):
    pixels = photo(size).astype(np.float64)
    low, high = (
        np.mean([np.abs(corrupt(photo(size), name, s, index=i) - pixels).mean() for i in range(6)]) for s in (1, 5)
    )
    assert low < high


# noise


@pytest.mark.parametrize(("severity", "sigma"), list(enumerate((0.08, 0.12, 0.18, 0.26, 0.38), 1)))
def test_gaussian_noise_has_the_published_deviation(severity, sigma):
    x = np.full((224, 224, 3), 0.5, dtype=np.float32)
    setting = pickle.loads(pickle.dumps(_setting("gaussian_noise", severity)))
    drawn = FUNCTIONS["gaussian_noise"](x, setting) - x
    assert drawn.std() == pytest.approx(sigma, rel=0.01)
    assert drawn.mean() == pytest.approx(0, abs=0.003)
    assert stats.kstest(drawn.ravel()[:20000] / sigma, "norm").pvalue > 0.001


def _setting(name, severity, *, scale=1.0, size=224):
    return Setting(TABLES[size][name][severity - 1], scale, Chance(0, name, severity, index=0))


@pytest.mark.parametrize(("severity", "sigma"), list(enumerate((0.15, 0.2, 0.35, 0.45, 0.6), 1)))
def test_speckle_noise_grows_with_the_value(severity, sigma):
    for level in (0.2, 0.8):
        x = np.full((200, 200, 3), level, dtype=np.float32)
        assert (FUNCTIONS["speckle_noise"](x, _setting("speckle_noise", severity)) - x).std() == pytest.approx(
            sigma * level, rel=0.01
        )


@pytest.mark.parametrize(("severity", "photons"), list(enumerate((60, 25, 12, 5, 3), 1)))
def test_shot_noise_is_a_poisson_count_of_photons(severity, photons):
    for level in (0, 51, 128, 255):
        x = np.full((200, 200, 3), level, dtype=np.float32) / np.float32(255)
        counts = FUNCTIONS["shot_noise"](x, _setting("shot_noise", severity)) * photons
        assert np.allclose(counts, np.rint(counts), atol=1e-4)
        assert counts.mean() == pytest.approx(level / 255 * photons, rel=0.02)
        assert counts.var() == pytest.approx(level / 255 * photons, rel=0.03)


@pytest.mark.parametrize("photons", [3, 60, 500])
def test_the_table_of_poisson_is_scipys(photons):
    table = poisson_table(photons)
    for level in (0, 1, 100, 255):
        expected = stats.poisson.cdf(np.arange(table.shape[1]), photons * level / 255)
        assert np.allclose(table[level] - level, expected, atol=1e-9)
    assert (np.diff(table.ravel()) >= 0).all()


@pytest.mark.parametrize(("severity", "share"), list(enumerate((0.03, 0.06, 0.09, 0.17, 0.27), 1)))
def test_impulse_noise_puts_out_a_share_of_the_values_half_of_them_white(severity, share):
    found = corrupt(grey(100), "impulse_noise", severity)
    assert set(np.unique(found)) == {0, 100, 255}
    assert (found == 0).mean() == pytest.approx(share / 2, rel=0.1)
    assert (found == 255).mean() == pytest.approx(share / 2, rel=0.1)
    changed = found != 100
    assert 0 < changed.all(axis=-1).mean() < 0.1  # each channel on its own


# blur


@pytest.mark.parametrize("sigma", [0.4, 1, 3, 6])
def test_the_gaussian_blur_is_scipys(sigma):
    x = noisy(50, 61, 3)
    assert gaussian_kernel(sigma).sum() == pytest.approx(1, abs=1e-6)
    expected = ndimage.gaussian_filter(x.astype(np.float64), (sigma, sigma, 0), mode="nearest")
    assert np.abs(blurred(x, sigma) - expected).max() < 1e-5


@pytest.mark.parametrize(("severity", "sigma"), list(enumerate((1, 2, 3, 4, 6), 1)))
def test_gaussian_blur_has_the_published_deviations(severity, sigma, china):
    expected = ndimage.gaussian_filter(china.astype(np.float64), (sigma, sigma, 0), mode="nearest")
    assert np.abs(corrupt(china, "gaussian_blur", severity) - expected).max() < 0.51


@pytest.mark.parametrize("shape", [(40, 30), (7, 90), (1, 1)])
@pytest.mark.parametrize("sigma", [0.7, 5, 170])
def test_a_blur_wider_than_the_picture_is_scipys(shape, sigma):
    field = noisy(*shape)
    expected = ndimage.gaussian_filter(field.astype(np.float64), sigma, mode="reflect", truncate=3)
    assert np.abs(wide_blur(field, sigma, truncate=3) - expected).max() < 1e-5


@pytest.mark.parametrize(("border", "mode"), [("edge", "nearest"), ("reflect", "mirror"), ("constant", "constant")])
def test_a_correlation_is_scipys_also_where_the_kernel_is_larger_than_the_picture(border, mode):
    kernel = noisy(9, 9) / 40
    for shape in ((30, 44), (30, 5)):
        x = noisy(*shape)
        assert np.abs(correlated(x, kernel, border=border) - ndimage.correlate(x, kernel, mode=mode)).max() < 1e-5
        both = np.stack([x, 1 - x], axis=-1)
        assert np.allclose(correlated(both, kernel, border=border)[..., 0], correlated(x, kernel, border=border))


@pytest.mark.parametrize(("radius", "edge"), [(0.3, 0.4), (3, 0.1), (4, 0.5), (8, 0.5), (10, 0.5)])
def test_the_disk_is_round_and_sums_to_one(radius, edge):
    kernel = disk_kernel(radius, edge)
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    assert np.allclose(kernel, kernel.T)
    assert np.allclose(kernel, kernel[::-1])
    at = np.arange(len(kernel)) - len(kernel) // 2
    inside = at[:, None] ** 2 + at**2 <= radius**2
    assert np.isclose(kernel.max(), 1 / inside.sum(), rtol=0.3)
    assert kernel[at[:, None] ** 2 + at**2 > (radius + 3) ** 2].max() == 0
    soft = ndimage.gaussian_filter(inside / inside.sum(), edge, radius=1 if radius <= 8 else 2, mode="constant")
    assert np.allclose(kernel, soft, atol=1e-6)


def test_motion_blur_spreads_a_point_along_a_line_as_half_a_gaussian():
    x = np.zeros((41, 41), dtype=np.float32)
    x[20, 20] = 1
    found = motion_blurred(x, 5, 3, angle=0)
    weights = np.exp(-0.5 * (np.arange(11) / 3) ** 2)
    assert np.allclose(found[20, 20:9:-1], weights / weights.sum())  # each pixel looks to its right
    assert found.sum() == pytest.approx(1)
    down = motion_blurred(x, 5, 3, angle=-90)
    assert np.allclose(down[20:31, 20], weights / weights.sum())
    slanted = motion_blurred(x, 5, 3, angle=45)
    assert np.count_nonzero(slanted) == len({math.ceil(i * math.sqrt(0.5) - 0.5) for i in range(11)})


def test_zoom_blur_is_the_mean_of_enlargements(china):
    total = 2 * china.astype(np.float64)
    for zoom in np.arange(1, 1.11, 0.01)[1:]:  # 12 steps with the authors' numpy, and ours: 1.11 is the last
        rows = (np.arange(224) + 0.5 - 112) / zoom + 112 - 0.5
        total += ndimage.map_coordinates(china[..., 0], np.meshgrid(rows, rows, indexing="ij"), order=1)[..., None]
    assert np.abs(corrupt(china, "zoom_blur", 1)[..., 0] - total[..., 0] / 13).max() < 2


@pytest.mark.parametrize("reach", [1, 2, 4])
def test_glass_moves_pixels_as_one_by_one_from_the_last_to_the_first(reach):
    height, width = 23, 31
    found = shuffled_places(height, width, reach, chance=chance())
    rows, columns = np.arange(reach + 1, height - reach + 1), np.arange(reach + 1, width - reach + 1)
    drawn = (2 * reach * chance().uniform(2, len(rows) * len(columns))).astype(int) - reach
    moves = drawn.reshape(2, len(rows), len(columns))
    x = np.arange(height * width).reshape(height, width)
    for i in reversed(range(len(rows))):
        for j in reversed(range(len(columns))):
            x[rows[i], columns[j]] = x[rows[i] + moves[0, i, j], columns[j] + moves[1, i, j]]
    assert np.array_equal(found.reshape(height, width), x)
    assert set(np.unique(drawn)) == set(range(-reach, reach))


# weather


def test_the_plasma_goes_on_at_the_other_side_and_is_rougher_for_a_lower_decay():
    smooth, rough = plasma(64, 3, chance=chance()), plasma(64, 1.4, chance=chance())
    for field in (smooth, rough):
        assert (field.min(), field.max()) == (0, 1)
        assert np.abs(field[0] - field[-1]).mean() < 3 * np.abs(np.diff(field, axis=0)).mean()
    assert np.abs(np.diff(smooth)).mean() < np.abs(np.diff(rough)).mean()


def test_fog_keeps_the_highest_value_and_lightens_black():
    x = np.zeros((224, 224, 3), dtype=np.float32)
    x[:, 112:] = 0.8
    thick = 1.5
    found = FUNCTIONS["fog"](x, _setting("fog", 1))
    assert found.max() <= 0.8 + 1e-6
    field = found * (0.8 + thick) / 0.8 - x  # the definition, solved for the plasma
    assert field.min() == pytest.approx(0, abs=0.2)
    assert np.allclose(field[..., 0] / thick, plasma(256, 2, chance=_setting("fog", 1).chance)[:224, :224], atol=1e-5)


def test_snow_falls_in_white_streaks_and_frost_is_bluish():
    dark = corrupt(grey(40), "snow", 3).astype(int)
    assert (dark.max(axis=-1) == dark.min(axis=-1)).all()
    assert 0.05 < (dark > 100).mean() < 0.6  # whitened grey is 84
    frozen = ice(224, 224, chance=chance())
    assert frozen[..., 2].mean() > frozen[..., 0].mean()
    assert 0 <= frozen.min() < frozen.max() <= 1
    assert 0.4 < frozen.mean() < 0.8


def test_frost_mixes_the_picture_and_ice_in_the_published_shares():
    x = np.full((224, 224, 3), 0.3, dtype=np.float32)
    setting = _setting("frost", 3)
    expected = 0.7 * x + 0.7 * ice(224, 224, chance=_setting("frost", 3).chance)
    assert np.allclose(FUNCTIONS["frost"](x, setting), expected, atol=1e-6)


def test_the_distance_to_a_rim_is_scipys():
    rims = noisy(60, 50) > 0.995
    expected = np.minimum(ndimage.distance_transform_edt(~rims), 20)
    assert np.allclose(distance(rims, most=20), expected, atol=1e-5)
    assert (distance(np.zeros((5, 9), bool), most=20) == 20).all()


def test_spatter_is_water_up_to_severity_3_and_mud_beyond():
    pixels = grey(120)
    for severity in (1, 2, 3):
        assert (corrupt(pixels, "spatter", severity) >= pixels).all()
    for severity in (4, 5):
        muddy = corrupt(pixels, "spatter", severity)
        darkest = muddy.reshape(-1, 3)[muddy.sum(-1).argmin()]
        assert np.abs(darkest.astype(int) - (63, 42, 20)).max() < 12
        assert 0.05 < (muddy < 110).mean() < 0.5


# colour, shape, coding


@pytest.mark.parametrize(("severity", "more"), list(enumerate((0.1, 0.2, 0.3, 0.4, 0.5), 1)))
def test_brightness_adds_to_the_value_of_hsv(severity, more):
    pixels = (noisy(6, 6, 3) * 255).astype(np.uint8)
    pixels[0, 0], pixels[0, 1] = 0, 77
    found = FUNCTIONS["brightness"](pixels / np.float32(255), _setting("brightness", severity))
    for before, after in zip(pixels.reshape(-1, 3) / 255, found.reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        assert np.allclose(after, colorsys.hsv_to_rgb(hue, saturation, min(1, value + more)), atol=1e-5)


@pytest.mark.parametrize(
    ("severity", "times", "plus"), [(1, 0.3, 0), (2, 0.1, 0), (3, 2, 0), (4, 5, 0.1), (5, 20, 0.2)]
)
def test_saturate_changes_the_saturation_of_hsv(severity, times, plus):
    pixels = (noisy(6, 6, 3) * 255).astype(np.uint8)
    pixels[0, 0], pixels[0, 1] = 0, 77
    found = FUNCTIONS["saturate"](pixels / np.float32(255), _setting("saturate", severity))
    for before, after in zip(pixels.reshape(-1, 3) / 255, found.reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        wanted = colorsys.hsv_to_rgb(hue, min(1, saturation * times + plus), value)
        assert np.allclose(after, wanted, atol=1e-4)


@pytest.mark.parametrize(("severity", "left"), list(enumerate((0.4, 0.3, 0.2, 0.1, 0.05), 1)))
def test_contrast_shrinks_each_channel_towards_its_mean(severity, left, china):
    found = corrupt(china, "contrast", severity).astype(np.float64)
    mean = china.mean(axis=(0, 1))
    assert np.abs(found - ((china - mean) * left + mean)).max() < 0.51


@pytest.mark.parametrize(("severity", "left"), list(enumerate((0.6, 0.5, 0.4, 0.3, 0.25), 1)))
def test_pixelate_leaves_so_many_boxes(severity, left, china):
    side = int(224 * left)
    small = Image.fromarray(china).resize((side, side), Image.Resampling.BOX)
    expected = np.asarray(small.resize((224, 224), Image.Resampling.BOX))
    found = corrupt(china, "pixelate", severity)
    assert np.array_equal(found, expected)
    if left in (0.5, 0.25):
        step = round(1 / left)
        boxes = china.reshape(side, step, side, step, 3).mean(axis=(1, 3))
        assert np.abs(found[::step, ::step] - boxes).max() < 1.01


@pytest.mark.parametrize(("severity", "quality"), list(enumerate((25, 18, 15, 10, 7), 1)))
def test_jpeg_compression_has_the_published_qualities(severity, quality, china):
    file = io.BytesIO()
    Image.fromarray(china).save(file, "JPEG", quality=quality)
    assert np.array_equal(corrupt(china, "jpeg_compression", severity), np.asarray(Image.open(file)))


def test_sampling_between_pixels_and_beyond_the_border_is_scipys():
    x = noisy(20, 31)
    down, right = 90 * noisy(2, 40, 40).astype(np.float64) - 30
    expected = ndimage.map_coordinates(x, [down, right], order=1, mode="mirror")
    assert np.abs(sampled(x, down, right) - expected).max() < 1e-4
    both = sampled(np.stack([x, 2 * x], axis=-1), down, right)
    assert np.allclose(both[..., 1], 2 * expected, atol=1e-4)
    assert np.allclose(stretched(x, 39, 61)[::2, ::2], x, atol=1e-6)


def test_elastic_bends_rows_by_about_the_published_displacement():
    down, right = np.mgrid[:224, :224].astype(np.float32) / 223
    x = np.stack([down, right, 0 * down], axis=-1)
    moved = {}
    for severity in (3, 4, 5):  # there the affine part is small: 0.02 of the side
        found = FUNCTIONS["elastic_transform"](x, _setting("elastic_transform", severity))[20:-20, 20:-20, :2]
        centre = found - x[20:-20, 20:-20, :2]
        smooth = ndimage.gaussian_filter(centre, (12, 12, 0))
        moved[severity] = (centre - smooth)[30:-30, 30:-30].std() * 223
        reach, sigma = TABLES[224]["elastic_transform"][severity - 1][:2]
        assert moved[severity] == pytest.approx(reach / math.sqrt(3) / (2 * math.sqrt(math.pi) * sigma), rel=0.15)
    assert moved[3] < moved[4] < moved[5]


def test_a_picture_between_two_sizes_is_corrupted_as_strongly():
    for name in ("gaussian_blur", "defocus_blur", "motion_blur", "elastic_transform"):
        far = []
        for size in (224, 290):
            image = Image.fromarray(load_sample_image("flower.jpg")).crop((100, 0, 500, 400)).resize((size, size))
            pixels = np.asarray(image)
            far.append(np.mean([np.abs(corrupt(pixels, name, 4, index=i) - 1.0 * pixels).mean() for i in range(6)]))
        assert far[0] == pytest.approx(far[1], rel=0.2), name


# as what is done to the images of a split


def test_large_images_are_cut_as_imagenet_c_was_and_small_ones_stay():
    wide = Image.fromarray(load_sample_image("china.jpg"))  # 640 x 427
    resized = wide.resize((640 * 256 // 427, 256), Image.Resampling.BILINEAR)
    left = (resized.width - 224) // 2
    expected = np.asarray(resized.crop((left, 16, left + 224, 240)), dtype=np.float64)
    assert np.abs(np.asarray(cut(wide, 224)) - expected).mean() < 2
    for size in ((127, 500), (64, 64), (1, 3)):
        assert cut(wide.resize(size), 224).size == size
    assert cut(wide.resize((128, 500)), 224).size == (224, 224)
    assert cut(wide, 0).size == (640, 427)
    assert cut(wide, 96).size == (96, 96)


def test_severities_are_dealt_evenly_and_in_no_fixed_order():
    alter = Corrupted("fog", (1, 3, 5))
    dealt = [alter.severity(i) for i in range(300)]
    assert all(sorted(dealt[i : i + 3]) == [1, 3, 5] for i in range(0, 300, 3))
    assert len({tuple(dealt[i : i + 3]) for i in range(0, 300, 3)}) == 6
    assert dealt != [Corrupted("snow", (1, 3, 5)).severity(i) for i in range(300)]
    assert dealt != [Corrupted("fog", (1, 3, 5), seed=1).severity(i) for i in range(300)]
    assert [Corrupted("fog", (4,)).severity(i) for i in range(3)] == [4, 4, 4]


class Mirror:
    name = "mirror"

    def __call__(self, image, index):
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def test_what_was_done_to_an_image_before_is_done_first():
    image = Image.fromarray(photo(64))
    alter = Corrupted("gaussian_noise", (2,), before=Mirror())
    alone = Corrupted("gaussian_noise", (2,))
    assert np.array_equal(alter(image, 5), alone(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 5))
    assert alter.name == "mirror, then gaussian_noise of severity 2, size 224, seed 0"


def test_a_pickled_corruption_does_the_same():
    image = Image.fromarray(photo(64))
    for name in ALL:
        alter = Corrupted(name, (1, 5), seed=3)
        again = pickle.loads(pickle.dumps(alter))
        assert np.array_equal(alter(image, 8), again(image, 8))
