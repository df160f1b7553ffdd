"""A data worker that dies: another reads on, the batches stay the same, and a file that kills workers is named."""

import io
import multiprocessing
import os
import signal
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from surefoot.data.batch import Batch, DataConfig, evaluation_batches, training_batches
from surefoot.data.contents import read_contents
from surefoot.data.images import ImageSpec
from surefoot.data.task import Split
from surefoot.data.workers import Crew

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

SPEC = ImageSpec(8, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 8)
HERE, TWO = DataConfig(workers=0, eval_batch_size=3), DataConfig(workers=2, eval_batch_size=3)


class Colours:
    """Squares of one colour each; the file `deadly` kills the worker that reads it, `lives` times."""

    def __init__(self, folder: Path, deadly: str = "", lives: int = 0) -> None:
        self.folder, self.deadly, self.lives = folder, deadly, lives

    def read(self, path: str) -> bytes:
        if path == self.deadly and multiprocessing.parent_process() is not None:
            deaths = len(list(self.folder.iterdir()))
            if deaths < self.lives:
                (self.folder / str(deaths)).touch()
                os.kill(os.getpid(), signal.SIGKILL)
        file = io.BytesIO()
        number = int(path.removesuffix(".png"))
        Image.new("RGB", (12, 10), (number * 9 % 256, 100, 255 - number)).save(file, "PNG")
        return file.getvalue()

    def describe(self) -> str:
        return "colours"


def split(source: Colours, count: int = 24) -> Split:
    labels = np.arange(count) % 3
    return Split("train", source, [f"{i}.png" for i in range(count)], labels, np.full(count, -1))


def same(ours: list[Batch], theirs: list[Batch]) -> bool:
    return len(ours) == len(theirs) and all(
        all(torch.equal(a, b) for a, b in zip(one[:5], other[:5], strict=True))
        for one, other in zip(ours, theirs, strict=True)
    )


def training(part: Split, config: DataConfig, count: int) -> list[Batch]:
    return list(islice(training_batches(part, SPEC, config, batch_size=4, seed=3, start_step=2), count))


def test_killed_workers_are_followed_by_others_and_the_batches_stay_the_same(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    part = split(Colours(tmp_path))
    batches = training_batches(part, SPEC, TWO, batch_size=4, seed=3, start_step=2)
    got = [next(batches)]
    for victim in (0, 1):
        os.kill(multiprocessing.active_children()[victim].pid or 0, signal.SIGKILL)
        time.sleep(0.1)  # no signal of a child may stop what the main process is at
        got += islice(batches, 9)
    batches.close()
    assert same(got, training(part, HERE, 19))
    assert "note: a data worker process died (1 so far); others go on" in capfd.readouterr().err


def test_evaluation_goes_on_too_and_gives_each_image_once(tmp_path: Path) -> None:
    part = split(Colours(tmp_path))
    batches = evaluation_batches(part, SPEC, TWO)
    got = [next(batches), next(batches)]
    for process in multiprocessing.active_children():
        os.kill(process.pid or 0, signal.SIGKILL)
    got += batches
    assert same(got, list(evaluation_batches(part, SPEC, HERE)))
    assert torch.cat([batch.index for batch in got]).tolist() == list(range(24))


@pytest.mark.parametrize("lives", [1, 2])
def test_a_file_that_kills_a_worker_once_or_twice_is_read_in_the_end(lives: int, tmp_path: Path) -> None:
    part = split(Colours(tmp_path, "7.png", lives))
    assert same(training(part, TWO, 12), training(split(Colours(tmp_path)), HERE, 12))
    assert len(list(tmp_path.iterdir())) == lives


def test_a_file_that_kills_worker_after_worker_is_named(tmp_path: Path) -> None:
    part = split(Colours(tmp_path, "7.png", 99))
    with pytest.raises(RuntimeError, match=r"died 3 times over 7\.png; remove or replace that file"):
        training(part, TWO, 12)


def test_workers_that_die_over_one_file_after_another_blame_none(tmp_path: Path) -> None:
    class Frail(Colours):
        """Every twelfth file kills the first worker that reads it."""

        def read(self, path: str) -> bytes:
            died = self.folder / path
            if int(path.removesuffix(".png")) % 12 == 0 and not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().read(path)

    with pytest.raises(RuntimeError, match=r"data worker processes died 10 times\. Most often the memory ran out"):
        list(evaluation_batches(split(Frail(tmp_path), 200), SPEC, TWO))


def test_an_error_where_there_are_no_workers_waits_for_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(Colours):
        def read(self, path: str) -> bytes:
            raise RuntimeError("gone")

    def waited(_: Crew) -> list[int]:
        raise AssertionError("waited for a worker to die")

    monkeypatch.setattr(Crew, "soon_dead", waited)
    with pytest.raises(RuntimeError, match="gone"):
        training(split(Gone(tmp_path)), HERE, 1)


def test_a_look_at_all_files_outlives_a_worker_too(tmp_path: Path) -> None:
    count = 64 * 8 * 2  # enough for two workers
    killing, sound = split(Colours(tmp_path, "700.png", 1), count), split(Colours(tmp_path), count)
    (ours,) = read_contents([killing], workers=2)
    (theirs,) = read_contents([sound])
    assert len(list(tmp_path.iterdir())) == 1
    np.testing.assert_array_equal(ours.digests, theirs.digests)


def test_an_error_that_kills_nobody_is_told_as_it_is(tmp_path: Path) -> None:
    class Odd(Colours):
        def read(self, path: str) -> bytes:
            raise RuntimeError("a worker process that died")

    with pytest.raises(RuntimeError, match="a worker process that died"):
        training(split(Odd(tmp_path)), TWO, 1)
