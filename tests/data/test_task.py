from dataclasses import replace

import numpy as np
import pytest

from surefoot.data.task import Split, Task


class Grey:
    name = "grey"

    def __call__(self, image, index):
        return image.convert("L").convert("RGB")


class Nowhere:
    def read(self, path):
        raise FileNotFoundError(path)

    def describe(self):
        return "nowhere"


def split(name, labels, groups=None):
    groups = [-1] * len(labels) if groups is None else groups
    paths = tuple(f"{name}/{i}.png" for i in range(len(labels)))
    return Split(name, Nowhere(), paths, np.array(labels, dtype=np.int64), np.array(groups, dtype=np.int64))


def task(**changes):
    parts = {
        "name": "pets",
        "classes": ("cat", "dog"),
        "templates": ("a photo of a {}.",),
        "contexts": (),
        "train": split("train", [0, 1, 1]),
        "validation": split("validation", [0, 1]),
        "tests": {"photo": split("photo", [1]), "sketch": split("sketch", [0])},
        "home": "photo",
    }
    return Task(**(parts | changes))


def test_shifts_are_the_tests_other_than_home():
    assert task().shifts == ("sketch",)
    assert list(task().splits()) == ["train", "validation", "photo", "sketch"]


def test_an_example_has_path_label_and_group():
    assert split("train", [0, 1], [-1, 3]).example(1) == ("train/1.png", 1, 3)


def test_a_subset_keeps_order_and_everything_else():
    part = split("train", [0, 1, 2], [0, 1, 2]).subset([2, 0])
    assert part.paths == ("train/2.png", "train/0.png")
    assert part.labels.tolist() == part.groups.tolist() == [2, 0]


def test_a_subset_keeps_the_blocks_of_its_examples():
    part = replace(split("train", [0, 1, 2]), blocks=np.array([5, 6, 7]), window=2).subset([2, 0])
    assert part.blocks.tolist() == [7, 5]
    assert part.window == 2
    assert len(split("train", [0, 1]).subset([1]).blocks) == 0


def test_blocks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"blocks has shape \(1,\)"):
        replace(split("train", [0, 1]), blocks=np.array([5]))
    with pytest.raises(ValueError, match="window is 0"):
        replace(split("train", [0, 1]), window=0)


def test_a_subset_of_a_subset_knows_where_its_examples_stood_at_first():
    part = split("train", [0, 1, 0, 1]).subset([3, 1, 2]).subset([2, 0])
    assert [part.position(i) for i in range(2)] == [2, 3]
    assert split("train", [0, 1]).position(1) == 1


def test_the_images_of_each_group_are_counted_and_those_without_are_not():
    grouped = task(train=split("train", [0, 1, 1], [2, 0, -1]), group_names=("a", "b", "c"))
    assert grouped.group_counts(grouped.train) == {"a": 1, "b": 0, "c": 1}
    assert grouped.group_counts(grouped.validation) == {"a": 0, "b": 0, "c": 0}
    assert task().group_counts(task().train) == {}


def test_the_fingerprint_sees_labels_groups_paths_and_class_names():
    same, base = task().fingerprint(), task()
    assert base.fingerprint() == same
    others = [
        task(classes=("cat", "wolf")),
        task(train=split("train", [0, 1, 0])),
        task(train=split("train", [0, 1, 1], [-1, -1, 0]), group_names=("x",)),
        task(train=split("other", [0, 1, 1])),
        task(validation=split("validation", [0])),
        task(train=replace(split("train", [0, 1, 1]), alter=Grey())),
    ]
    assert len({same, *(other.fingerprint() for other in others)}) == 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("cat",)}, "two or more"),
        ({"classes": ("cat", "cat")}, "more than once"),
        ({"classes": ("cat", " ")}, "no name"),
        ({"templates": ()}, "templates is empty"),
        ({"templates": ("a photo of a cat",)}, "exactly once"),
        ({"contexts": ("{} {}",)}, "exactly once"),
        ({"home": "real"}, "home is 'real'"),
        ({"tests": {"train": split("train", [0])}, "home": "train"}, "rename that domain"),
        ({"train": split("train", [])}, "'train': no images"),
        ({"validation": split("validation", [])}, "'validation': no images"),
        ({"train": split("train", [0, 7])}, r"labels \[7\] lie outside 0\.\.1"),
        ({"train": split("train", [0, -1])}, r"labels \[-1\] lie outside"),
        ({"train": split("train", [0, 1], [0, -1])}, "0 group names"),
        ({"train": replace(split("train", [0, 1]), class_mask=(0,))}, "class mask"),
        ({"train": replace(split("train", [0, 1]), merged=((0, 1),))}, "under the first of its set"),
        ({"train": replace(split("train", [0, 0]), merged=((0, 1), (1, 0)))}, "in two of the merged sets"),
    ],
)
def test_what_cannot_be_a_task_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        task(**changes)


def test_a_split_with_too_few_labels_is_refused():
    with pytest.raises(ValueError, match="one for each path"):
        Split("train", Nowhere(), ("a.png", "b.png"), np.zeros(1, dtype=np.int64), np.zeros(2, dtype=np.int64))
