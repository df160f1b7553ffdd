"""What every task in `tasks/` must keep, found by name, on a small stand-in in the data set's real layout.

A stand-in is tests/stand_ins/NAME.py with `make(root: Path) -> dict[str, object]`: it writes files below `root` and
returns the task's options.
"""

import importlib.util
import pickle
import shutil
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surefoot import plugins
from surefoot.backbones.base import load_backbone
from surefoot.config import check
from surefoot.data.batch import Batch, DataConfig, evaluation_batches, training_batches
from surefoot.data.places import inventory
from surefoot.data.prompts import Prompts
from surefoot.data.scan import open_example, unreadable
from surefoot.data.task import Split, Task, TaskSource

TASKS = plugins.names("tasks")
STAND_INS = Path(__file__).parents[1] / "stand_ins"
DATA = DataConfig(workers=0, eval_batch_size=4)
SPEC = load_backbone("tiny").image_spec

every_task = pytest.mark.parametrize("name", TASKS)


@dataclass(frozen=True)
class StandIn:
    """A task on its stand-in under `root`, loaded once."""

    name: str
    root: Path
    options: dict[str, Any]
    task: Task

    def source(self, **options: object) -> TaskSource:
        return source(self.name, {**self.options, **options})

    def moved(self, root: Path) -> TaskSource:
        """The task on a copy of the stand-in."""
        shutil.copytree(self.root, root, symlinks=True)
        return source(self.name, {key: _moved(value, self.root, root) for key, value in self.options.items()})


def source(name: str, options: dict[str, Any]) -> TaskSource:
    plugin = plugins.find("tasks", name, base=TaskSource)
    return plugin(check(plugin.Config, "task", options))


def _moved(value: Any, old: Path, new: Path) -> Any:
    if isinstance(value, str):
        return value.replace(str(old), str(new))
    if isinstance(value, list | tuple):
        return [_moved(inner, old, new) for inner in value]
    return {key: _moved(inner, old, new) for key, inner in value.items()} if isinstance(value, dict) else value


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StandIn]:
    """The stand-ins that were made so far."""
    return {}


@pytest.fixture
def stand_in(name: str, made: dict[str, StandIn], tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    if name not in made:
        file = STAND_INS / f"{name}.py"
        assert file.is_file(), f"tests/stand_ins/{name}.py is missing; write make(root) that returns the task's options"
        spec = importlib.util.spec_from_file_location(f"stand_in_{name}", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        root = tmp_path_factory.mktemp(name)
        options = module.make(root)
        made[name] = StandIn(name, root, options, source(name, options).load())
    return made[name]


def listing(root: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder below with its size and time of change."""
    stats = {path: path.lstat() for path in [root, *root.rglob("*")]}
    return {str(path): (stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()}


@every_task
def test_it_says_what_it_is(name: str) -> None:
    plugin = plugins.find("tasks", name, base=TaskSource)
    assert plugin.summary
    assert plugin.__module__ == f"surefoot.tasks.{name}"


@every_task
def test_every_image_of_every_split_decodes(name: str, stand_in: StandIn) -> None:
    for split in stand_in.task.splits().values():
        assert unreadable(split) == []


@every_task
def test_its_splits_survive_the_way_to_a_worker_process(name: str, stand_in: StandIn) -> None:
    for split in stand_in.task.splits().values():
        copy: Split = pickle.loads(pickle.dumps(split))
        assert copy.paths == split.paths
        for index in (0, len(split) - 1):
            there, here = open_example(copy, index).pixels(), open_example(split, index).pixels()
            assert there.tobytes() == here.tobytes()


@every_task
def test_it_is_the_same_when_it_is_loaded_again(name: str, stand_in: StandIn) -> None:
    again = stand_in.source().load()
    assert again.fingerprint() == stand_in.task.fingerprint()
    assert (again.classes, again.notes) == (stand_in.task.classes, stand_in.task.notes)


@every_task
def test_no_image_stands_in_two_splits_unless_it_is_altered_or_the_task_notes_it(name: str, stand_in: StandIn) -> None:
    task = stand_in.task
    images = {key: {(s.source.describe(), path) for path in s.paths} for key, s in task.splits().items()}
    for (first, a), (second, b) in combinations(task.splits().items(), 2):
        altered = [split.alter.name if split.alter is not None else "" for split in (a, b)]
        if images[first] & images[second] and altered[0] == altered[1]:
            assert any(first in note and second in note for note in task.notes), f"{first} and {second} share images"
    for key, split in task.splits().items():
        assert len(images[key]) == len(split), f"an image stands twice in {key}"


@every_task
def test_its_class_masks_and_labels_agree(name: str, stand_in: StandIn) -> None:
    task = stand_in.task
    everything = set(range(len(task.classes)))
    assert set(task.train.labels.tolist()) == everything, "a class has no training image"
    for split in task.splits().values():
        counted = set(split.class_mask) or everything
        assert set(split.labels.tolist()) <= counted <= everything
        assert len(split.class_mask) == len(set(split.class_mask))
        for classes in split.merged:
            assert set(classes) <= everything
            assert set(classes) & counted == {classes[0]}


@every_task
def test_its_classes_make_sentences(name: str, stand_in: StandIn) -> None:
    prompts = Prompts.from_task(stand_in.task)
    sentences = prompts.class_sentences()
    assert len(sentences) == len(stand_in.task.classes)
    assert all(sentence.strip() and "{" not in sentence for row in sentences for sentence in row)
    assert prompts.context_sentences()


@every_task
def test_nothing_is_written_beside_the_data(name: str, stand_in: StandIn) -> None:
    before = listing(stand_in.root)
    task = stand_in.source().load()
    for split in task.splits().values():
        open_example(split, 0).pixels()
    assert listing(stand_in.root) == before


@every_task
def test_its_places_are_those_of_the_stand_in(name: str, stand_in: StandIn) -> None:
    places = stand_in.source().places()
    if places:
        found = inventory(stand_in.options["root"], places)
        assert found.missing == ()


@every_task
def test_without_a_place_it_says_so_or_does_without(name: str, stand_in: StandIn, tmp_path: Path) -> None:
    for number, place in enumerate(stand_in.source().places()):
        moved = stand_in.moved(tmp_path / str(number))
        root = Path(moved.config.root)  # type: ignore[attr-defined]
        for path in sorted(root.glob(place.path)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if place.needed:
            with pytest.raises((ValueError, FileNotFoundError), match=r"MISSING|lacks|no such"):
                moved.load()
        else:
            without = moved.load()
            assert without.notes != stand_in.task.notes, f"{place.path} is not there, but no note says so"


@every_task
def test_a_root_that_is_not_there_is_named(name: str, stand_in: StandIn, tmp_path: Path) -> None:
    if "root" not in stand_in.source().Config.model_fields:
        pytest.skip("it has no root")
    with pytest.raises((ValueError, FileNotFoundError), match=r"root.*nowhere"):
        stand_in.source(root=str(tmp_path / "nowhere")).load()


@every_task
def test_batches_come_out(name: str, stand_in: StandIn) -> None:
    task = stand_in.task
    stream = training_batches(task.train, SPEC, DATA, batch_size=4, seed=0)
    _check(next(stream), task, 4)
    stream.close()
    for split in (task.validation, *task.tests.values()):
        batches = list(evaluation_batches(split, SPEC, DATA))
        for batch in batches:
            _check(batch, task, len(batch.labels))
        labels = np.concatenate([batch.labels.numpy() for batch in batches])
        assert labels.tolist() == split.labels.tolist()


def _check(batch: Batch, task: Task, count: int) -> None:
    assert batch.images.shape == (count, 3, SPEC.size, SPEC.size)
    assert batch.images.isfinite().all()
    assert batch.labels.shape == batch.groups.shape == (count,)
    assert int(batch.labels.max()) < len(task.classes)
    assert int(batch.groups.max()) < max(1, len(task.group_names))


def test_every_stand_in_is_that_of_a_task() -> None:
    assert sorted(file.stem for file in STAND_INS.glob("[!_]*.py")) == TASKS
