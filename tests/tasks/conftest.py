"""The stand-ins of data sets, made in their real layouts."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

STAND_INS = Path(__file__).parents[1] / "stand_ins"


@pytest.fixture(scope="session")
def stand_in() -> Callable[[str], ModuleType]:
    """The module that makes the stand-in of a task."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"stand_in_of_{name}", STAND_INS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


STREAM = """
import hashlib, json, sys
from surefoot.data.batch import DataConfig, training_batches
from surefoot.data.images import ImageSpec
from surefoot.run import load_task

options, start, last, workers = json.loads(sys.argv[2]), *map(int, sys.argv[3:6])
split = load_task(sys.argv[1], options=options).train
spec = ImageSpec(size=8, mean=(0.5,) * 3, std=(0.25,) * 3, resize=8)
config = DataConfig(workers=workers)
for step, batch in enumerate(training_batches(split, spec, config, batch_size=5, seed=3, start_step=start), start):
    told = [split.paths[i] for i in batch.index.tolist()]
    print(json.dumps([step, told, hashlib.sha256(batch.images.numpy().tobytes()).hexdigest()]), flush=True)
    if step == last:
        break
"""


def streamed_lines(
    task: str, options: Mapping[str, Any], *, start: int, last: int, workers: int = 0, kill_after: int = 10**6
) -> list[Any]:
    """Lines of a process that trains from step `start` on, killed with SIGKILL once it has written `kill_after`."""
    given = json.dumps({**options, "root": str(options["root"])})
    words = [sys.executable, "-W", "ignore", "-c", STREAM, task, given, *map(str, (start, last, workers))]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(json.loads(line))
        if len(lines) == kill_after:
            os.killpg(process.pid, signal.SIGKILL)
            break
    process.stdout.close()
    process.wait()
    return lines


@pytest.fixture(scope="session")
def stream() -> Callable[..., list[Any]]:
    """`streamed_lines`: of each step its number, the paths and a hash of the images."""
    return streamed_lines
