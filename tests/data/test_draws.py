import numpy as np

from surefoot.data.draws import GOLDEN, _mixed, crop_draws, permutation


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
