import json
from pathlib import Path

import pytest

from surefoot.engine.log import metrics_file, progress_bar


def entries(path: Path) -> list[tuple[int, int]]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [(entry["stage"], entry["step"]) for entry in found]


def write(path: Path, places: list[tuple[int, int]], *, stage: int = 0, step: int = 0) -> None:
    with metrics_file(path, stage=stage, step=step) as metrics:
        for at, k in places:
            metrics.write({"stage": at, "step": k, "loss": {"cross_entropy": 0.5}})


def test_each_entry_is_a_line_of_json(tmp_path: Path) -> None:
    write(tmp_path / "metrics.jsonl", [(0, 0), (0, 1)])
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["loss"] for line in lines] == [{"cross_entropy": 0.5}] * 2


def test_a_line_is_on_the_disk_as_soon_as_it_is_written(tmp_path: Path) -> None:
    with metrics_file(tmp_path / "metrics.jsonl", stage=0, step=0) as metrics:
        metrics.write({"stage": 0, "step": 0})
        assert entries(tmp_path / "metrics.jsonl") == [(0, 0)]


def test_a_resumed_run_drops_the_lines_from_its_first_step_on(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)])
    write(path, [(1, 1)], stage=1, step=1)
    assert entries(path) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_run_that_starts_anew_starts_with_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, [(0, 0), (0, 1)])
    write(path, [])
    assert entries(path) == []


def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, [(0, 0), (0, 1)])
    path.write_text(path.read_text()[:-20])
    write(path, [(0, 1)], step=1)
    assert entries(path) == [(0, 0), (0, 1)]


def test_a_line_without_its_end_is_dropped_even_where_it_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"stage": 0, "step": 0}\n{"stage": 0, "step": 1}')
    write(path, [(0, 5)], step=5)
    assert entries(path) == [(0, 0), (0, 5)]


def test_other_processes_leave_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, [(0, 0)])
    with metrics_file(path, stage=0, step=0, written=False) as metrics:
        metrics.write({"stage": 0, "step": 5})
    assert entries(path) == [(0, 0)]


def test_without_a_terminal_progress_is_plain_lines_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("flyp", 3) as bar:
        for step in (1, 2, 3):
            bar.advance_to(step, f"loss {step}.000")
    told = capsys.readouterr()
    assert told.err == "flyp: 3/3 loss 3.000\n"  # the others came within ten seconds
    assert told.out == ""


def test_other_processes_show_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("flyp", 3, shown=False) as bar:
        bar.advance_to(3, "loss 1.000")
    assert capsys.readouterr().err == ""


def test_a_line_that_cannot_be_written_is_told_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with metrics_file(path, stage=0, step=0) as metrics:
        path.unlink()
        path.mkdir()
        with pytest.raises(OSError, match=r"metrics\.jsonl could not be written to .* Free some space"):
            metrics.write({"stage": 0, "step": 0})
