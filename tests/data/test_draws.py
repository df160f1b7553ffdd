import numpy as np
import pytest

from surefoot.data.draws import (
    GOLDEN,
    SPURIOUS,
    _mixed,
    choices,
    crop_draws,
    label_draws,
    permutation,
    random_tokens,
    shuffled_blocks,
)


def test_the_mixer_is_splitmix64():
    """The first outputs of the published generator for seed 1234567."""
    states = np.uint64(1234567) + GOLDEN * np.arange(1, 4, dtype=np.uint64)
    assert _mixed(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_every_order_is_a_permutation_and_each_epoch_and_seed_has_its_own():
    orders = [tuple(permutation(50, seed=seed, epoch=epoch)) for seed in range(3) for epoch in range(3)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len(set(orders)) == 9


def test_places_in_the_order_are_uniform():
    first = [permutation(10, seed=0, epoch=epoch)[0] for epoch in range(2000)]
    assert np.abs(np.bincount(first, minlength=10) - 200).max() < 60  # 4.5 standard deviations


def test_crop_draws_are_uniform_and_do_not_depend_on_the_batch_they_are_drawn_in():
    index, view = np.arange(2000) % 100, np.arange(2000) // 100
    draws = crop_draws(7, index, view, count=5)
    assert draws.shape == (2000, 5)
    assert 0 <= draws.min() < draws.max() < 1
    np.testing.assert_allclose(draws.mean(axis=0), 0.5, atol=0.03)
    assert np.abs(np.corrcoef(draws.T) - np.eye(5)).max() < 0.1
    np.testing.assert_array_equal(draws[1234:1235], crop_draws(7, index[1234:1235], view[1234:1235], count=5))
    assert len(np.unique(draws)) == draws.size


def test_label_draws_are_uniform_and_each_image_and_seed_has_its_own():
    drawn = label_draws(7, np.arange(2000))
    assert 0 <= drawn.min() < drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 0.03
    np.testing.assert_array_equal(drawn[[5, 1234]], label_draws(7, np.array([5, 1234])))
    assert len(np.unique(np.concatenate([drawn, label_draws(8, np.arange(2000))]))) == 4000


def test_random_tokens_are_uniform_over_all_but_the_excluded():
    drawn = random_tokens(3, 0, shape=(1000, 8), size=10, excluded={0, 9})
    assert drawn.shape == (1000, 8)
    counts = np.bincount(drawn.ravel(), minlength=10)
    assert counts[0] == counts[9] == 0
    assert np.abs(counts[1:9] - 1000).max() < 150  # five standard deviations


def test_each_moment_and_seed_has_its_own_tokens():
    drawn = [random_tokens(seed, moment, shape=(2, 8), size=99) for seed in (0, 1) for moment in (0, 1, 1 << 32)]
    assert len({tuple(tokens.ravel()) for tokens in drawn}) == 6
    np.testing.assert_array_equal(drawn[0], random_tokens(0, 0, shape=(2, 8), size=99))


def test_each_image_may_have_its_own_number_of_choices():
    index, view = np.arange(4000), np.zeros(4000, np.int64)
    drawn = choices(0, index, view, count=1 + index % 4)
    np.testing.assert_array_equal(drawn[3::4], choices(0, index[3::4], view[3::4], count=4))
    assert (drawn[::4] == 0).all()
    assert np.abs(np.bincount(drawn[3::4], minlength=4) - 250).max() < 60
    with pytest.raises(ValueError, match="at least one"):
        choices(0, index[:2], view[:2], count=np.array([1, 0]))


def test_two_uses_of_one_image_and_view_are_drawn_independently():
    index, view = np.arange(5000), np.zeros(5000, np.int64)
    captions, spurious = (choices(0, index, view, count=10, **use) for use in ({}, {"use": SPURIOUS}))
    assert abs((captions == spurious).mean() - 0.1) < 0.03


def test_blocks_are_shuffled_and_read_a_window_at_a_time():
    blocks = np.repeat(np.array([7, 3, 9, 4, 0]), 6)
    orders = [shuffled_blocks(np.arange(len(blocks)), blocks, window=2, seed=1, epoch=epoch) for epoch in range(20)]
    for order in orders:
        assert sorted(order.tolist()) == list(range(30))
        windows = [set(blocks[part].tolist()) for part in (order[:12], order[12:24], order[24:])]
        assert [len(window) for window in windows] == [2, 2, 1]
        assert set.union(*windows) == {0, 3, 4, 7, 9}
    assert len({tuple(order) for order in orders}) == 20
    assert len({frozenset(blocks[order[:12]].tolist()) for order in orders}) > 5  # other blocks meet in each epoch
    alternations = np.diff(blocks[orders[0][:12]]) != 0
    assert alternations.sum() > 2  # mixed, not one block after the other


def test_one_window_for_all_blocks_is_the_plain_order():
    blocks = np.arange(40) // 7
    for epoch in range(3):
        order = shuffled_blocks(np.arange(len(blocks)), blocks, window=6, seed=5, epoch=epoch)
        np.testing.assert_array_equal(order, permutation(40, seed=5, epoch=epoch))
