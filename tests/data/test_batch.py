import io
import multiprocessing
import os
import pickle
import signal
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from surefoot.data.batch import DataConfig, drop_unreadable, evaluation_batches, readable, training_batches
from surefoot.data.images import ImageSpec, UnreadableImage
from surefoot.data.task import Split, Task

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # Python 3.12 and later

SPEC = ImageSpec(size=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), resize=8)
HERE = DataConfig(workers=0, crop_scale=(0.3, 1.0))


class Memory:
    """Files in memory: what the tests and worker processes read."""

    def __init__(self, files):
        self.files = files

    def read(self, path):
        if path not in self.files:
            raise FileNotFoundError(path)
        return self.files[path]

    def describe(self):
        return "memory"


class Deadly(Memory):
    """Kills the worker process that reads from it, as running out of memory does."""

    def read(self, path):
        os._exit(9)


def picture(seed):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 14, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def split(count, *, broken=(), name="train", source=Memory):
    files = {f"{i}.png": b"broken" if i in broken else picture(i) for i in range(count)}
    labels, groups = np.arange(count) % 3, np.arange(count) % 2 - 1
    return Split(name, source(files), tuple(files), labels.astype(np.int64), groups.astype(np.int64))


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a[:5], b[:5], strict=True))


def first(count, batches):
    return list(islice(batches, count))


def joined(batches):
    return [torch.cat(parts) for parts in zip(*(batch[:5] for batch in batches), strict=True)]


TEN = split(10)
BLOCKS = replace(TEN, blocks=np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 3]), window=2)


def test_each_epoch_holds_each_image_once_in_another_order():
    batches = first(10, training_batches(TEN, SPEC, HERE, batch_size=3, seed=0))
    stream = torch.cat([batch.index for batch in batches])
    epochs = [stream[start : start + 10] for start in (0, 10, 20)]
    assert all(sorted(epoch.tolist()) == list(range(10)) for epoch in epochs)
    assert epochs[0].tolist() != epochs[1].tolist()


def test_a_batch_is_full_and_carries_labels_groups_index_and_view():
    batches = first(4, training_batches(TEN, SPEC, HERE, batch_size=4, seed=0))
    for batch in batches:
        assert batch.images.shape == (4, 3, 8, 8)
        assert batch.images.dtype == torch.float32
        np.testing.assert_array_equal(batch.labels, TEN.labels[batch.index])
        np.testing.assert_array_equal(batch.groups, TEN.groups[batch.index])
    assert torch.cat([batch.view for batch in batches]).tolist() == [0] * 10 + [1] * 6


def test_a_split_with_blocks_is_read_a_window_of_blocks_at_a_time():
    stream = torch.cat([batch.index for batch in first(10, training_batches(BLOCKS, SPEC, HERE, batch_size=3, seed=0))])
    for epoch in (stream[start : start + 10].numpy() for start in (0, 10, 20)):
        assert sorted(epoch.tolist()) == list(range(10))
        seen = BLOCKS.blocks[epoch].tolist()
        first_two = list(dict.fromkeys(seen))[:2]
        size = int(np.isin(BLOCKS.blocks, first_two).sum())
        assert set(seen[:size]) == set(first_two)


@given(st.integers(0, 40), st.integers(1, 25), st.integers(0, 3), st.integers(0, 5), st.sampled_from([TEN, BLOCKS]))
@settings(max_examples=20, deadline=None)
def test_starting_at_a_step_gives_the_batches_of_an_undisturbed_run(start, batch_size, views, seed, part):
    config = HERE.model_copy(update={"views": views})
    whole = training_batches(part, SPEC, config, batch_size=batch_size, seed=seed)
    resumed = training_batches(part, SPEC, config, batch_size=batch_size, seed=seed, start_step=start)
    for expected, got in zip(list(islice(whole, start, start + 2)), first(2, resumed), strict=True):
        assert same(expected, got)


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 9), st.sampled_from([TEN, BLOCKS]))
@settings(max_examples=15, deadline=None)
def test_the_ranks_batches_joined_are_the_batch_of_one_process(world_size, share, step, part):
    def batches(rank, world_size):
        options = {"batch_size": share * world, "seed": 7, "start_step": step}
        return first(2, training_batches(part, SPEC, HERE, rank=rank, world_size=world_size, **options))

    world = world_size
    alone = batches(0, 1)
    ranks = [batches(rank, world_size) for rank in range(world_size)]
    for step_batches, expected in zip(zip(*ranks, strict=True), alone, strict=True):
        assert same(joined(step_batches), expected)


def test_worker_processes_do_not_change_the_batches():
    with_workers = HERE.model_copy(update={"workers": 2})
    options = {"batch_size": 4, "seed": 3, "start_step": 1}
    here = first(5, training_batches(TEN, SPEC, HERE, **options))
    there = first(5, training_batches(TEN, SPEC, with_workers, **options))
    assert all(same(a, b) for a, b in zip(here, there, strict=True))


def test_the_global_random_state_is_neither_used_nor_changed():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    batch = next(training_batches(TEN, SPEC, HERE, batch_size=4, seed=3))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    np.random.seed(1)
    assert same(batch, next(training_batches(TEN, SPEC, HERE, batch_size=4, seed=3)))


def test_small_images_are_read_once_and_large_ones_each_time():
    part = split(3)
    batches = training_batches(part, SPEC, HERE, batch_size=3, seed=0)
    next(batches)
    part.source.files.clear()
    assert len(next(batches).index) == 3
    large = io.BytesIO()
    Image.new("RGB", (200, 200)).save(large, "PNG")
    part.source.files.update(dict.fromkeys(part.paths, large.getvalue()))
    batches = training_batches(part, SPEC, HERE, batch_size=3, seed=0)
    next(batches)
    part.source.files.clear()
    with pytest.raises(UnreadableImage, match="3 of 3"):
        next(batches)


def test_fixed_views_come_back_and_are_the_same_pixels():
    config = HERE.model_copy(update={"views": 2})
    batches = first(4, training_batches(TEN, SPEC, config, batch_size=10, seed=0))
    assert [batch.view.unique().tolist() for batch in batches] == [[0], [1], [0], [1]]
    images = [batch.images[batch.index.argsort()] for batch in batches]
    assert torch.equal(images[0], images[2])
    assert not torch.equal(images[0], images[1])


def test_another_seed_gives_another_order_and_other_crops():
    a, b = (first(1, training_batches(TEN, SPEC, HERE, batch_size=10, seed=seed))[0] for seed in (0, 1))
    assert a.index.tolist() != b.index.tolist()
    assert not torch.equal(a.images[a.index.argsort()], b.images[b.index.argsort()])


def test_without_augmentation_training_reads_the_evaluation_view():
    batch = next(training_batches(TEN, SPEC, HERE, batch_size=10, seed=0, augment=False))
    whole = next(evaluation_batches(TEN, SPEC, HERE))
    assert batch.view.tolist() == [-1] * 10
    assert torch.equal(batch.images, whole.images[batch.index])


@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_evaluation_reads_each_image_once_on_any_number_of_ranks(count, world_size, batch_size):
    config = HERE.model_copy(update={"eval_batch_size": batch_size})
    part = TEN.subset(range(min(count, 10)))
    seen = []
    for rank in range(world_size):
        batches = list(evaluation_batches(part, SPEC, config, rank=rank, world_size=world_size))
        indices = [index for batch in batches for index in batch.index.tolist()]
        assert indices == list(range(rank, len(part), world_size))
        assert all((batch.view == -1).all() and len(batch.index) <= batch_size for batch in batches)
        seen += indices
    assert sorted(seen) == list(range(len(part)))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_stops_with_a_list_of_all_of_them(workers):
    part = split(9, broken=(2, 7))
    with pytest.raises(UnreadableImage, match=r"2 of 9 .*'train' \(memory\)") as stop:
        first(9, training_batches(part, SPEC, DataConfig(workers=workers), batch_size=2, seed=0))
    assert "2.png: not an image" in str(stop.value)
    assert "7.png: not an image" in str(stop.value)
    assert "on_bad_image=skip" in str(stop.value)


def test_a_missing_file_is_listed_like_a_broken_one():
    part = split(3)
    del part.source.files["1.png"]
    with pytest.raises(UnreadableImage, match=r"1 of 3(.|\n)*1\.png"):
        list(evaluation_batches(part, SPEC, HERE))


def pets(train):
    validation = split(4, name="validation")
    return Task("pets", ("cat", "dog", "eel"), ("a {}.",), (), train, validation, {"test": TEN}, "test", ("wild",))


def test_skipping_leaves_broken_images_out_and_says_how_many_of_which_class():
    config = HERE.model_copy(update={"on_bad_image": "skip"})
    task = drop_unreadable(pets(split(9, broken=(2, 5, 6))), config)
    assert task.notes == ("train: skipped 3 of 9 images that cannot be read (eel 2, cat 1)",)
    clean = split(9).subset([0, 1, 3, 4, 7, 8])
    got, expected = (
        first(4, training_batches(part, SPEC, config, batch_size=4, seed=0)) for part in (task.train, clean)
    )
    assert all(same(a, b) for a, b in zip(got, expected, strict=True))


def test_nothing_is_scanned_or_dropped_under_stop():
    task = pets(split(9, broken=(2,)))
    assert drop_unreadable(task, HERE) is task


def test_a_class_that_skipping_leaves_without_training_images_is_named():
    task = pets(split(9, broken=(1, 4, 7)))
    with pytest.raises(UnreadableImage, match="no training image of the classes dog can be read"):
        drop_unreadable(task, HERE.model_copy(update={"on_bad_image": "skip"}))


def test_a_split_without_broken_images_stays_as_it_is():
    assert readable(TEN, HERE) == (TEN, [])


def test_a_dead_worker_is_explained():
    part = split(4, source=Deadly)
    with pytest.raises(RuntimeError, match=r"worker process died(.|\n)*data\.workers=1"):
        next(training_batches(part, SPEC, DataConfig(workers=1), batch_size=2, seed=0))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_worker_processes_outlive_a_signal_to_all_processes(number):
    config = HERE.model_copy(update={"workers": 2})
    batches = training_batches(TEN, SPEC, config, batch_size=4, seed=0)
    got = [next(batches)]
    for worker in multiprocessing.active_children():
        os.kill(worker.pid, number)
    got += first(20, batches)
    batches.close()
    expected = first(21, training_batches(TEN, SPEC, HERE, batch_size=4, seed=0))
    assert all(same(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 3, "world_size": 2}, "divide by the 2 processes"),
        ({"batch_size": 0}, "must be positive"),
        ({"batch_size": 2, "rank": 2, "world_size": 2}, "rank=2"),
        ({"batch_size": 2, "start_step": -1}, "start_step=-1"),
        ({"batch_size": 2, "seed": -1}, "seed=-1"),
    ],
)
def test_impossible_requests_are_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        training_batches(TEN, SPEC, HERE, **({"seed": 0} | options))


def test_an_empty_split_is_refused():
    with pytest.raises(ValueError, match="is empty"):
        evaluation_batches(TEN.subset([]), SPEC, HERE)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("crop_scale", (0.0, 1.0)),
        ("crop_scale", (0.5, 1.1)),
        ("crop_scale", (0.9, 0.8)),
        ("crop_ratio", (2.0, 1.0)),
        ("background", (0, 0, 256)),
        ("workers", -1),
        ("views", -1),
        ("max_pixels", 0),
        ("on_bad_image", "ignore"),
        ("worker", 1),
    ],
)
def test_settings_out_of_range_are_refused_by_name(option, value):
    with pytest.raises(ValidationError, match=option):
        DataConfig(**{option: value})


def test_a_split_travels_to_worker_processes():
    copy = pickle.loads(pickle.dumps(TEN))
    assert same(next(evaluation_batches(copy, SPEC, HERE)), next(evaluation_batches(TEN, SPEC, HERE)))


def test_order_and_crops_stay_what_they_were():
    """Another stream would change every published number; these were drawn when the stream was defined."""
    batch = next(training_batches(TEN, SPEC, HERE, batch_size=10, seed=0))
    assert batch.index.tolist() == [2, 9, 4, 1, 6, 8, 5, 0, 3, 7]
    means = [0.075, 0.02, 0.008, -0.048, 0.005, -0.213, -0.112, -0.084, -0.009, -0.057]
    np.testing.assert_allclose(batch.images.mean(dim=(1, 2, 3)), means, atol=0.002)
