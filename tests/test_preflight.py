"""`surefoot preflight` against hand-made probes, and against runs that then took place."""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from surefoot.config import resolve
from surefoot.engine.train import EngineConfig, stage_steps
from surefoot.methods.base import Stage
from surefoot.preflight import About, Probe, _container, fitting, preflight, step_seconds, steps_of

ABOUT = About(images=100, stages=(1.0,), compares=False, pixels=0, device="cpu")


def probe(images: int, gib: float, *, micro_batch: int = 0, seconds: float = 1.0) -> Probe:
    return Probe(images=images, micro_batch=micro_batch, seconds=seconds, reading=0, gib=gib, loading_gib=0)


# 2 GiB and an eighth for each image
PAIR = [probe(8, 3.0, seconds=2.0), probe(32, 6.0, seconds=5.0)]


def test_a_batch_that_fits_is_left_whole() -> None:
    assert fitting(PAIR, ABOUT, 64, available=12.0) == (0, 10.0)


def test_of_a_batch_that_does_not_fit_the_largest_power_of_two_that_does_is_a_part() -> None:
    assert fitting(PAIR, ABOUT, 512, available=12.0) == (64, 10.0)
    assert fitting(PAIR, ABOUT, 512, available=11.0) == (32, 6.0)


def test_the_images_of_the_whole_batch_and_its_matrices_stay_in_memory() -> None:
    about = About(images=100, stages=(1.0,), compares=True, pixels=2**18, device="cpu")
    part, gib = fitting(PAIR, about, 512, available=12.0)
    assert part == 32
    assert gib == pytest.approx(6.0 + 3 * 512 / 2**10 + 8 * 4 * 512**2 / 2**30)


def test_parts_that_are_asked_for_are_kept_where_they_fit_and_else_made_smaller() -> None:
    assert fitting(PAIR, ABOUT, 512, available=12.0, most=64) == (64, 10.0)  # its own proposal
    assert fitting(PAIR, ABOUT, 512, available=12.0, most=48) == (48, 8.0)
    assert fitting(PAIR, ABOUT, 512, available=8.0, most=48) == (32, 6.0)
    assert fitting(PAIR, ABOUT, 64, available=12.0, most=64) == (0, 10.0)
    assert fitting(PAIR, ABOUT, 64, available=12.0, most=16) == (16, 4.0)


def test_what_a_container_may_still_take_is_its_limit_less_what_it_cannot_drop(tmp_path: Path) -> None:
    assert _container(tmp_path) == []
    (tmp_path / "memory.max").write_text("max\n")
    assert _container(tmp_path) == []
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 300\ninactive_file 250\nactive_file 150\n")
    assert _container(tmp_path) == [550]


def test_where_nothing_fits_it_tells_the_least_there_is() -> None:
    part, gib = fitting(PAIR, ABOUT, 512, available=2.0)
    assert (part, gib) == (1, 2.125)


def test_seconds_grow_with_the_images_and_by_what_parts_cost() -> None:
    assert step_seconds(PAIR, 128, cached=False) == pytest.approx(1.0 + 128 / 8)
    slower = [*PAIR, probe(32, 3.0, micro_batch=8, seconds=7.0)]
    assert step_seconds(slower, 128, cached=True) == pytest.approx((1.0 + 128 / 8) * 7 / 5)


@pytest.mark.parametrize("options", [{"epochs": 3}, {"epochs": 0.5}, {"steps": 17}])
def test_steps_are_counted_as_training_counts_them(options: dict[str, Any]) -> None:
    engine = EngineConfig(batch_size=8, **options)
    about = About(images=100, stages=(0.3, 0.7), compares=False, pixels=0, device="cpu")
    stages = [Stage(train=(), share=share) for share in about.stages]
    total = sum(stage_steps(stage, engine, images=100) for stage in stages)
    assert steps_of(engine, about, 8) == (13, total)


def peak_of(words: list[str]) -> float:
    """The peak memory (GiB) of a command by itself: `ru_maxrss` would count what its parent had when it was started."""
    code = "import atexit, runpy; atexit.register(lambda: print(open('/proc/self/status').read())); "
    code += "runpy.run_module('surefoot', run_name='__main__', alter_sys=True)"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 2**20


def test_the_run_then_takes_what_was_said(squares: Path, tmp_path: Path) -> None:
    wanted = {"task": str(squares), "backbone": "tiny", "backbone.size": 128, "method": "flyp", "data.workers": 0}
    wanted |= {"engine.batch_size": 36, "engine.epochs": 2}
    found = preflight(wanted)
    assert [p.images for p in found.probes] == [8, 32]
    assert (found.steps_per_epoch, found.steps) == (1, 2)
    assert found.fits
    assert found.proposed == {"engine.batch_size": 36, "engine.micro_batch": 0, "engine.precision": "32"} or (
        found.proposed["engine.precision"] == "bf16"
    )
    words = [f"{name}={value}" for name, value in {**wanted, **found.proposed}.items()]
    assert peak_of(["train", *words, "-o", str(tmp_path / "run")]) == pytest.approx(found.gib, rel=0.35)
    assert len((tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()) == found.steps
    config = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["config"]
    assert config["engine"]["batch_size"] == resolve(wanted).engine.batch_size


def run(words: list[str], before: Callable[[], None] | None = None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "surefoot", "preflight", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=before)


def test_a_limit_that_nothing_fits_into_is_told_with_what_would_be_needed(squares: Path) -> None:
    done = run([f"task={squares}", "backbone=tiny", "engine.batch_size=8", "data.workers=0", "--memory", "0.1"])
    assert done.returncode == 1
    assert "not even images one at a time fit into 90% of 0.10 GiB" in done.stdout
    assert "Closest, but too large: engine.batch_size=8 engine.micro_batch=1" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="limits the data of a process as Linux does")
def test_a_probe_that_the_memory_does_not_suffice_for_is_told_as_such(squares: Path) -> None:
    def little() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30))

    done = run(
        [f"task={squares}", "backbone=tiny", "backbone.size=2048", "engine.batch_size=32", "data.workers=0"], little
    )
    assert done.returncode == 1
    assert "the memory did not suffice for a step of 8 images" in done.stderr


def test_what_a_probe_says_last_is_the_error(squares: Path) -> None:
    with pytest.raises(ValueError, match=r"a step of 8 images failed: .*engine\.compile=true"):
        preflight(
            {"task": str(squares), "backbone": "tiny", "method": "miro", "engine.compile": True, "data.workers": 0}
        )
