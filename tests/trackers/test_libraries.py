"""The trackers' own libraries, read back. `make test-trackers` has them all; elsewhere what is missing is skipped."""

import json
import os
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

RUN = """
import json, sys, warnings
import surefoot
warnings.simplefilter("ignore")
warnings.filterwarnings("error", message="tracking.to")
run = surefoot.train(sys.argv[1], json.loads(sys.argv[2]))
assert "torchvision" not in sys.modules
"""
BLOCK = 32768
SECRET = "hf_do_not_write_me"


def track(folder: Path, settings: dict[str, Any], *, to: str) -> list[dict[str, Any]]:
    """A run in a process of its own, as trackers leave threads and signals behind; the lines of its metrics.jsonl."""
    own = {**settings, "tracking.to": [to], "tracking.project": "tried", "engine.steps": 4}
    meter = {"forgetting.every": 2, "forgetting.unit": "steps", "forgetting.images": 8, "forgetting.tasks": []}
    environment = {**os.environ, "WANDB_MODE": "offline", "HF_TOKEN": SECRET, "WANDB_API_KEY": "0" * 40}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-c", RUN, str(folder), json.dumps({**own, **meter})]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def wandb_records(content: bytes) -> Iterator[bytes]:
    """The records of a .wandb file: LevelDB's log format, in blocks of 32 KiB, behind seven bytes of W&B's own."""
    assert content[:4] == b":W&B"
    place, parts = 7, b""
    while place + 7 <= len(content):
        if BLOCK - place % BLOCK < 7:  # what is left of a block is too short for a header
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield parts
            parts = b""


def holds(folder: Path, secret: str) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()]


def test_a_tensorboard_event_file_has_the_curves_and_the_result(tmp_path: Path, quick: dict[str, Any]) -> None:
    pytest.importorskip("tensorboard", reason="make test-trackers has it")
    lines = track(tmp_path / "run", quick, to="tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    losses = [(point.step, point.value) for point in events.Scalars("loss/cross_entropy")]
    wanted = [(line["step"] + 1, pytest.approx(line["loss"]["cross_entropy"], rel=1e-6)) for line in lines]
    assert losses == wanted
    drift = [point.step for point in events.Scalars("forgetting/context_drift")]
    assert drift == [2, 4]
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    accuracy = events.Scalars("result/test/accuracy")[-1].value
    assert accuracy == pytest.approx(results["splits"]["test"]["accuracy"])
    assert not holds(tmp_path, SECRET)


def test_an_mlflow_sqlite_store_has_the_run(tmp_path: Path, quick: dict[str, Any]) -> None:
    pytest.importorskip("mlflow", reason="make test-trackers has it")
    lines = track(tmp_path / "run", quick, to="mlflow")
    store = sqlite3.connect(tmp_path / "run" / "mlflow.db")  # read without MLflow
    ((run, status),) = store.execute("SELECT run_uuid, status FROM runs").fetchall()
    assert status == "FINISHED"
    assert ("tried",) in store.execute("SELECT name FROM experiments").fetchall()
    assert store.execute("SELECT value FROM params WHERE key = 'method.name'").fetchall() == [("fine_tune",)]
    losses = "SELECT step, value FROM metrics WHERE key = 'loss/cross_entropy' ORDER BY step"
    assert store.execute(losses).fetchall() == [(line["step"] + 1, line["loss"]["cross_entropy"]) for line in lines]
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    accuracy = store.execute("SELECT value FROM metrics WHERE key = 'result/test/accuracy' AND run_uuid = ?", (run,))
    assert accuracy.fetchall() == [(results["splits"]["test"]["accuracy"],)]
    store.close()
    assert not holds(tmp_path, SECRET)


@pytest.mark.filterwarnings("ignore")  # MLflow's own, about SQLAlchemy
def test_a_resumed_mlflow_run_is_the_same_one(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="make test-trackers has it")
    from surefoot.trackers.base import About
    from surefoot.trackers.mlflow import MLflow

    for step in (0, 3):
        tracker = MLflow()
        tracker.start(About(tmp_path, "tried", "mine", {"a": 1}), step)
        tracker.log(step, {"x": step})
        tracker.close(finished=bool(step))
    store = sqlite3.connect(tmp_path / "mlflow.db")
    assert store.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)]
    assert store.execute("SELECT step FROM metrics WHERE key = 'x' ORDER BY step").fetchall() == [(0,), (3,)]
    store.close()


def test_wandb_offline_leaves_a_folder_that_holds_the_run(tmp_path: Path, quick: dict[str, Any]) -> None:
    pytest.importorskip("wandb", reason="make test-trackers has it")
    lines = track(tmp_path / "run", quick, to="wandb")
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    from wandb.proto import wandb_internal_pb2

    losses, summary = {}, set()
    for data in wandb_records(file.read_bytes()):
        record: Any = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        for item in record.history.item:
            name = "/".join(item.nested_key) or item.key
            if name == "loss/cross_entropy":
                losses[record.history.step.num] = json.loads(item.value_json)
        summary |= {"/".join(item.nested_key) or item.key for item in record.summary.update}
    assert losses == {line["step"] + 1: line["loss"]["cross_entropy"] for line in lines}
    assert "test/accuracy" in summary
    assert not holds(tmp_path, SECRET)
    assert not holds(tmp_path, "0" * 40)
