"""Killed with SIGKILL at any step and started again, a run ends bit for bit as one that was left alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

KILLS = {1: (1, 9, 17), 2: (5, 14)}  # by number of processes: after how many logged steps to kill, one after the other


def command(squares: Path, folder: Path, processes: int) -> list[str]:
    words = ["--task", squares, "--backbone", "tiny", "--method", "flyp", "-o", folder]
    small = ["engine.batch_size=12", "engine.epochs=8", "engine.precision=32", "engine.save_every=3"]
    loading = ["data.workers=0", f"engine.devices={processes}"]
    return [sys.executable, "-m", "surefoot", "train", *map(str, words), *small, *loading]


def kill_after(words: list[str], metrics: Path, lines: int) -> None:
    process = subprocess.Popen(words, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while process.poll() is None and steps_logged(metrics) < lines:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def steps_logged(metrics: Path) -> int:
    return len(metrics.read_text(encoding="utf-8").splitlines()) if metrics.is_file() else 0


@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_killed_again_and_again_ends_as_an_undisturbed_one(processes: int, squares: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(squares, whole, processes), check=True)
    for lines in KILLS[processes]:
        kill_after(command(squares, killed, processes), killed / "metrics.jsonl", lines)
        assert not (killed / "results.json").exists(), "the run was over before it was killed"
    subprocess.run(command(squares, killed, processes), check=True)
    for file in ("model.safetensors", "head.safetensors"):
        ours, theirs = load_file(whole / "classifier" / file), load_file(killed / "classifier" / file)
        assert all(ours[name].equal(theirs[name]) for name in ours)
    results = [json.loads((folder / "results.json").read_text()) for folder in (whole, killed)]
    assert results[0]["splits"] == results[1]["splits"]
    losses = [
        [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (whole, killed)
    ]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 24
