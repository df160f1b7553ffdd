"""Blending more runs needs no more memory. Run as a script it blends and prints its peaks."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from surefoot.blending import blend
from surefoot.run import train

KINDS = ("uniform", "greedy", "stock")
STATUS = Path("/proc/self/status")


@pytest.mark.skipif(not STATUS.is_file(), reason="the peak is read from /proc")
def test_eight_runs_are_blended_in_the_memory_of_two(quick: dict[str, Any], tmp_path: Path) -> None:
    # one tensor of 32 MB and more, which malloc gives back to the system when it is freed
    big = {**quick, "method": "zero_shot", "backbone.dim": 1024, "backbone.size": 64, "data.eval_batch_size": 4}
    first = train(tmp_path / "0", big).folder
    for number in range(1, 8):  # hard links: one file on the disk, eight for those who read them
        shutil.copytree(first, tmp_path / str(number), copy_function=os.link)
    size = (first / "classifier" / "model.safetensors").stat().st_size
    assert size > 2**25
    words = [sys.executable, __file__, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    two, eight = json.loads(done.stdout)
    assert eight - two < size


def peak() -> int:
    """The most memory that this process ever had, in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def measure(root: Path) -> list[int]:
    """After blends of two runs, after blends of eight."""
    peaks = []
    for count in (2, 8):
        runs = [root / str(number) for number in range(count)]
        for kind in KINDS:
            shutil.rmtree(blend(runs, root / f"{kind}-{count}", kind=kind).folder)
        peaks.append(peak())
    return peaks


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(Path(sys.argv[1]))))
