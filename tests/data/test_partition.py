import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from surefoot.data.manifest import ClassList, Table
from surefoot.data.partition import Partition, deal, make_task
from surefoot.data.sources import FolderSource


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.floats(0.01, 0.6), st.floats(0.01, 0.39))
def test_dealing_leaves_an_example_of_every_class_and_takes_one_where_it_can(labels, first, second):
    array = np.array(labels, dtype=np.int64)
    parts = deal(array, list(np.random.default_rng(0).random(len(labels))), (first, second))
    for label in set(labels):
        mine = parts[array == label]
        assert (mine == -1).any()
        assert (mine == 0).any() == (len(mine) > 1)
        if len(mine) > 10:
            assert abs((mine == 0).sum() - first * len(mine)) <= 1


def table(paths, tmp_path):
    blank = [""] * len(paths)
    labels = ["cat" if path < "m" else "dog" for path in paths]
    return Table(FolderSource(tmp_path), "a table", paths, labels, blank, blank, blank, ClassList())


def test_the_order_of_the_rows_does_not_change_the_parts(tmp_path):
    paths = [f"{letter}{i}.png" for letter in "az" for i in range(10)]
    parts = []
    for rows in (paths, paths[::-1]):
        task = make_task("x", table(rows, tmp_path), Partition(seed=3), templates=["a {}"], contexts=[])
        parts.append({name: sorted(split.paths) for name, split in task.splits().items()})
    assert parts[0] == parts[1]
    assert [len(part) for part in parts[0].values()] == [14, 2, 4]
