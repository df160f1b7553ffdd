"""Batches balanced by group or class: equal shares, each image once a round, the same from any step and rank."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.data.draws import permutation
from surefoot.data.picks import TrainingPicks, balanced
from surefoot.data.task import Split


class Nowhere:
    def read(self, path):
        raise FileNotFoundError(path)

    def describe(self):
        return "nowhere"


def split(labels, groups):
    paths = [f"{i}.png" for i in range(len(labels))]
    return Split("train", Nowhere(), paths, np.array(labels, np.int64), np.array(groups, np.int64))


def picks(members, count, *, batch_size, seed=0, start=0, rank=0, world=1, views=0):
    return list(islice(TrainingPicks(members, batch_size, seed, start, rank, world, views), count))


UNEQUAL = split([0, 1] * 10, [0] * 12 + [1] * 5 + [2] * 3)


def test_every_batch_has_equal_shares_of_the_groups():
    for batch in picks(balanced(UNEQUAL, "group"), 20, batch_size=6):
        assert np.bincount(UNEQUAL.groups[batch.index]).tolist() == [2, 2, 2]


def test_where_the_groups_do_not_divide_the_batch_shares_differ_by_one_and_even_out():
    batches = picks(balanced(UNEQUAL, "group"), 9, batch_size=4)
    shares = np.array([np.bincount(UNEQUAL.groups[batch.index], minlength=3) for batch in batches])
    assert (shares.max(1) - shares.min(1) <= 1).all()
    assert shares.sum(0).tolist() == [12, 12, 12]


def test_each_group_goes_through_its_images_once_before_any_comes_again_with_the_next_view():
    batches = picks(balanced(UNEQUAL, "group"), 12, batch_size=3)
    for group, count in enumerate((12, 5, 3)):
        taken = [(i, v) for b in batches for i, v in zip(b.index, b.view, strict=True) if UNEQUAL.groups[i] == group]
        members = np.flatnonzero(UNEQUAL.groups == group).tolist()
        for start in range(0, len(taken) - count + 1, count):
            once = taken[start : start + count]
            assert sorted(i for i, _ in once) == members
            assert {v for _, v in once} == {start // count}


def test_classes_are_balanced_in_the_same_way():
    rare = split([0] * 9 + [1], [-1] * 10)
    for batch in picks(balanced(rare, "class"), 5, batch_size=4):
        assert np.bincount(rare.labels[batch.index]).tolist() == [2, 2]


def test_images_without_a_group_take_turns_as_one_more_group():
    mixed = split([0] * 6, [-1, -1, -1, -1, 0, 0])
    assert [members.tolist() for members in balanced(mixed, "group")] == [[0, 1, 2, 3], [4, 5]]


def test_a_split_without_groups_cannot_be_balanced_by_them():
    with pytest.raises(ValueError, match=r"data.balance=group: no image of split .* give data.balance=class or none"):
        balanced(split([0, 1], [-1, -1]), "group")


def test_unbalanced_batches_are_permutations_one_after_the_other():
    members = balanced(UNEQUAL, "none")
    stream = np.concatenate([batch.index for batch in picks(members, 10, batch_size=6, seed=3)])
    expected = np.concatenate([permutation(20, seed=3, epoch=epoch) for epoch in range(3)])
    np.testing.assert_array_equal(stream, expected)


def test_groups_of_one_size_are_not_read_in_the_same_order():
    twins = split([0] * 40, [0] * 20 + [1] * 20)
    (batch,) = picks(balanced(twins, "group"), 1, batch_size=40)
    assert (batch.index[::2] + 20 != batch.index[1::2]).any()


@given(st.integers(0, 60), st.integers(1, 25), st.integers(0, 3), st.sampled_from(["none", "group", "class"]))
@settings(max_examples=40, deadline=None)
def test_a_start_at_any_step_gives_the_batches_of_an_undisturbed_run(start, batch_size, views, balance):
    members = balanced(UNEQUAL, balance)
    whole = picks(members, start + 2, batch_size=batch_size, views=views)[start:]
    resumed = picks(members, 2, batch_size=batch_size, views=views, start=start)
    for expected, got in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(expected.index, got.index)
        np.testing.assert_array_equal(expected.view, got.view)


@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 30), st.sampled_from(["group", "class"]))
@settings(max_examples=30, deadline=None)
def test_the_ranks_parts_joined_are_the_batch_of_one_process(world, share, start, balance):
    members, batch_size = balanced(UNEQUAL, balance), world * share
    alone = picks(members, 3, batch_size=batch_size, start=start)
    ranks = [picks(members, 3, batch_size=batch_size, start=start, rank=rank, world=world) for rank in range(world)]
    for step, expected in enumerate(alone):
        for field in ("index", "view"):
            joined = np.concatenate([getattr(part[step], field) for part in ranks])
            np.testing.assert_array_equal(joined, getattr(expected, field))


def test_balanced_streams_of_a_split_with_blocks_each_go_through_their_blocks():
    blocks, members = np.repeat(np.arange(5), 4), balanced(UNEQUAL, "class")
    stream = TrainingPicks(members, 4, 0, 0, 0, 1, 0, blocks, 1)
    index = np.concatenate([batch.index for batch in islice(stream, 5)])
    for kind in (0, 1):
        mine = index[UNEQUAL.labels[index] == kind]
        assert sorted(mine.tolist()) == members[kind].tolist()
        assert len(set(blocks[mine].tolist())) == 5
        assert (np.diff(blocks[mine]) != 0).sum() == 4  # a block is read to its end before the next one begins
