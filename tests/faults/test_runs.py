"""Whole runs that meet a fault end as an undisturbed one, bit for bit, or say what happened."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from surefoot.checkpoint import BEFORE, FILE
from surefoot.engine.train import NotFiniteError
from surefoot.interruption import Interrupted
from surefoot.occupied import occupied
from surefoot.run import train

KILLS = 20


@pytest.fixture
def settings(quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    monkeypatch.syspath_prepend(Path(__file__).parent.parent)
    yield {**quick, "method": "faults.faulty", "engine.save_every": 1, "engine.epochs": 3}
    for name in ("faults.faulty", "faults"):
        sys.modules.pop(name, None)


def end(folder: Path) -> tuple[dict[str, Any], list[Any], Any]:
    """The weights, the losses and the measures of a finished run."""
    weights = {
        f"{file}/{name}": value.tolist()
        for file in ("model.safetensors", "head.safetensors")
        for name, value in load_file(folder / "classifier" / file).items()
    }
    losses = [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return weights, losses, json.loads((folder / "results.json").read_text())["splits"]


def stop(folder: Path, settings: dict[str, Any], fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULT", fault)
    with pytest.raises(Interrupted):
        train(folder, settings)
    monkeypatch.delenv("FAULT")


def test_a_run_whose_last_checkpoint_was_cut_short_goes_on_from_the_one_before_and_says_so(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "whole", settings)
    stop(tmp_path / "cut", settings, "stop 5", monkeypatch)
    last = tmp_path / "cut" / "last"
    assert {path.name for path in last.iterdir()} == {FILE, BEFORE}
    os.truncate(last / FILE, (last / FILE).stat().st_size - 1)
    train(tmp_path / "cut", settings)
    assert end(tmp_path / "cut") == end(tmp_path / "whole")
    assert "state.safetensors is damaged" in (told := capfd.readouterr().err)
    assert "going on from the checkpoint before it, step 5 of stage 0" in told


def test_a_run_goes_on_with_other_workers(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path / "whole", settings)
    stop(tmp_path / "other", settings, "stop 4", monkeypatch)
    train(tmp_path / "other", {**settings, "data.workers": 2})
    assert end(tmp_path / "other") == end(tmp_path / "whole")


def test_a_clock_that_goes_backwards_changes_nothing(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path / "whole", settings)
    now = [time.time()]

    def backwards() -> float:
        now[0] -= 3600
        return now[0]

    with monkeypatch.context() as patched:
        patched.setattr(time, "time", backwards)
        patched.setattr(time, "time_ns", lambda: int(backwards() * 1e9))
        stop(tmp_path / "back", settings, "stop 4", monkeypatch)
        run = train(tmp_path / "back", settings)
    assert end(tmp_path / "back") == end(tmp_path / "whole")
    assert run.results["seconds"] > 0


def test_a_loss_that_is_not_finite_leaves_a_run_that_can_go_on(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path / "whole", settings)
    monkeypatch.setenv("FAULT", "nan 4")
    with pytest.raises(NotFiniteError, match="step 4 of stage 0"):
        train(tmp_path / "nan", settings)
    monkeypatch.delenv("FAULT")
    train(tmp_path / "nan", settings)
    assert end(tmp_path / "nan") == end(tmp_path / "whole")


def test_a_second_run_in_one_folder_is_refused_and_touches_nothing(settings: dict[str, Any], tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        try:
            with occupied(tmp_path / "run"):
                time.sleep(300)
        finally:
            os._exit(0)
    deadline = time.monotonic() + 100
    try:
        while not (tmp_path / "run" / "lock.json").is_file() or not (tmp_path / "run" / "lock.json").stat().st_size:
            assert time.monotonic() < deadline, "the child does not hold the folder"
            time.sleep(0.01)
        with pytest.raises(ValueError, match=f"in use: process {child} on "):
            train(tmp_path / "run", settings)
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["lock.json"]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    train(tmp_path / "run", settings)
    assert not (tmp_path / "run" / "lock.json").exists()


def test_killed_twenty_times_at_random_moments_it_ends_as_an_undisturbed_run(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    long = {**settings, "engine.epochs": 200, "data.views": 2}
    train(tmp_path / "whole", long)
    path = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    words = [sys.executable, __file__, json.dumps(long), str(tmp_path / "killed")]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert end(tmp_path / "killed") == end(tmp_path / "whole")


def kill_again_and_again(long: dict[str, Any], folder: Path) -> None:
    """In a process of its own, with one thread, since it forks."""
    assert threading.active_count() == 1
    draw = random.Random(0)
    for _ in range(KILLS):
        before = changed(folder / "metrics.jsonl")
        child = os.fork()
        if child == 0:
            try:
                train(folder, long)
            finally:
                os._exit(0)
        deadline = time.monotonic() + 100
        while changed(folder / "metrics.jsonl") == before:  # it has not begun to train
            assert time.monotonic() < deadline, "the run does not begin"
            time.sleep(0.001)
        time.sleep(draw.uniform(0.0, 0.1))
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), "the run was over before it was killed"
    train(folder, long)


def changed(path: Path) -> int:
    return path.stat().st_mtime_ns if path.is_file() else 0


if __name__ == "__main__":
    kill_again_and_again(json.loads(sys.argv[1]), Path(sys.argv[2]))
