import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import surefoot
from surefoot.config import resolve
from surefoot.trackers.base import HIDDEN, About, Trackers, TrackingConfig, numbers, without_secrets

TRACKER = """
from pathlib import Path
from surefoot.trackers.base import Tracker

class ToFile(Tracker):
    summary = "Writes what it is told into a text file."
    def start(self, about, step):
        self.path = Path(about.folder) / "told.txt"
        self.tell(f"start {step} {about.name} {about.settings['method']['name']}")
        self.tell(f"token {about.settings.get('hub_token', 'none')}")
    def log(self, step, values):
        self.tell(f"log {step} {' '.join(values)}")
        if self.breaks == step:
            raise RuntimeError("the server is gone")
    def conclude(self, values):
        self.tell(f"conclude {'test/accuracy' in values}")
    def close(self, *, finished):
        self.tell(f"close {finished}")
    def tell(self, line):
        with self.path.open("a") as file:
            file.write(line + "\\n")
    breaks = -1
"""


@pytest.fixture
def to_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "written_trackers").mkdir()
    (tmp_path / "written_trackers" / "good.py").write_text(TRACKER)
    (tmp_path / "written_trackers" / "bad.py").write_text(TRACKER.replace("breaks = -1", "breaks = 2"))
    (tmp_path / "written_trackers" / "lost.py").write_text(
        TRACKER.replace("self.path =", "import no_such_library; x =")
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_tracker_of_your_own_is_told_of_every_step_and_of_the_result(to_file: Path, quick: dict[str, Any]) -> None:
    surefoot.train(to_file / "run", {**quick, "tracking.to": ["written_trackers.good"], "engine.steps": 3})
    first, _, *steps, end, close = (to_file / "run" / "told.txt").read_text().splitlines()
    assert first.startswith("start 0 ")
    assert first.endswith("-fine_tune-0 fine_tune")
    assert steps == [f"log {step} lr loss/cross_entropy" for step in (1, 2, 3)]
    assert (end, close) == ("conclude True", "close True")


def test_a_tracker_that_fails_is_told_of_once_and_never_kills_the_run(to_file: Path, quick: dict[str, Any]) -> None:
    settings = {**quick, "tracking.to": ["written_trackers.bad", "written_trackers.lost"], "engine.steps": 4}
    with pytest.warns(UserWarning, match="the run goes on without it") as warned:
        run = surefoot.train(to_file / "run", settings)
    told = [str(one.message) for one in warned if "tracking.to=" in str(one.message)]
    assert len(told) == 2
    assert "written_trackers.lost failed (ModuleNotFoundError: No module named 'no_such_library')" in told[0]
    assert "written_trackers.bad failed (RuntimeError: the server is gone)" in told[1]
    assert run.results["splits"]["test"]["count"] == 15
    assert (to_file / "run" / "told.txt").read_text().splitlines()[-1].startswith("log 2")


def test_trackers_change_no_number(to_file: Path, quick: dict[str, Any]) -> None:
    without = surefoot.train(to_file / "off", quick)
    tracked = surefoot.train(to_file / "on", {**quick, "tracking.to": ["written_trackers.good"]})
    assert without.results["splits"] == tracked.results["splits"]
    weights = [run.folder / "classifier" / "model.safetensors" for run in (without, tracked)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_where_a_run_is_tracked_may_change_on_the_way(to_file: Path, quick: dict[str, Any]) -> None:
    first = surefoot.train(to_file / "run", quick)
    again = surefoot.train(to_file / "run", {**quick, "tracking.to": ["written_trackers.good"]})
    assert again.results == first.results


def test_a_failure_of_the_run_closes_the_trackers(to_file: Path) -> None:
    trackers = Trackers(TrackingConfig(to=("written_trackers.good",)))
    about = About(to_file, "p", "n", {"method": {"name": "m"}, "hub_token": "hf_abc"})
    with pytest.raises(ZeroDivisionError), trackers.following(about, step=7):
        raise ZeroDivisionError
    assert (to_file / "told.txt").read_text().splitlines() == ["start 7 n m", f"token {HIDDEN}", "close False"]


def test_an_unknown_tracker_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="no tracker 'tensorbord'; did you mean tensorboard"):
        resolve({"tracking.to": ["tensorbord"]})


def test_numbers_are_found_however_deep_and_only_finite_ones() -> None:
    entry = {"lr": 1e-3, "loss": {"a": 2, "b": math.nan}, "on": True, "name": "x", "deep": {"er": {"z": 3.5}}}
    assert numbers(entry) == {"lr": 1e-3, "loss/a": 2.0, "deep/er/z": 3.5}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"hub_token": "hf_abc"}, {"hub_token": HIDDEN}),
        ({"task": {"password": "p"}}, {"task": {"password": HIDDEN}}),
        ({"private_key": "k", "sas-key": "k"}, {"private_key": HIDDEN, "sas-key": HIDDEN}),
        ({"apikey": "k", "key": "k"}, {"apikey": HIDDEN, "key": HIDDEN}),
        ({"pwd": "p", "monkey": "m", "keys": 3}, {"pwd": HIDDEN, "monkey": "m", "keys": 3}),
        ({"root": "https://me:p@ss@host/d"}, {"root": "https://host/d"}),
        ({"root": "s3://b/a.tar?sig=1 x"}, {"root": "s3://b/a.tar x"}),
        ({"task": {"password": ""}}, {"task": {"password": ""}}),
        ({"root": "https://me:secret@host/data"}, {"root": "https://host/data"}),
        ({"urls": ["s3://b/a.tar?X-Amz-Signature=1"]}, {"urls": ["s3://b/a.tar"]}),
        ({"root": "photos/?", "lr": 1e-5}, {"root": "photos/?", "lr": 1e-5}),
    ],
)
def test_secrets_are_not_given_to_trackers(given: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    assert without_secrets(given) == told
