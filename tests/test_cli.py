"""The command line as a user meets it: what it prints, where it writes, how it exits."""

import csv
import inspect
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from surefoot import cli
from surefoot.arguments import settings_of

SUREFOOT = [sys.executable, "-m", "surefoot"]
QUICK = ["engine.batch_size=12", "engine.epochs=2", "engine.precision=32", "data.workers=0", "--backbone", "tiny"]


def surefoot(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "100"}
    return subprocess.run(
        [*SUREFOOT, *map(str, words)], capture_output=True, text=True, check=False, cwd=cwd, env=environment
    )


@pytest.fixture(scope="module")
def trained(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of `fine_tune` on the squares."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    done = surefoot("train", "--task", squares, "--method", "fine_tune", *QUICK, "-o", folder)
    assert done.returncode == 0, done.stderr
    assert "fine_tune (seed 0)" in done.stdout
    return folder


@pytest.mark.parametrize("verb", ["list", "train", "compare", "blend", "evaluate", "report", "predict", "check", "app"])
def test_every_command_has_help_with_an_example(verb: str) -> None:
    done = surefoot(verb, "--help")
    assert done.returncode == 0
    assert f"Example: surefoot {verb}" in done.stdout.replace("\n", " ").replace("│", "").replace("  ", " ")


def test_help_comes_without_importing_torch_and_quickly() -> None:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        assert surefoot("--help").returncode == 0
        times.append(time.perf_counter() - start)
    assert min(times) < 1.5  # half a second on an idle machine (benchmarks/startup.py); tests run beside others


def test_list_as_json_names_tasks_backbones_and_methods_with_their_options() -> None:
    done = surefoot("list", "--json")
    found = json.loads(done.stdout)
    names = {folder: {entry["name"] for entry in found[folder]} for folder in ("tasks", "backbones", "methods")}
    assert {"iconshift", "icongroups", "folder"} <= names["tasks"]
    assert {"iconclip", "huggingface", "tiny"} <= names["backbones"]
    assert {"zero_shot", "linear_probe", "fine_tune", "lp_ft", "wise_ft", "flyp"} <= names["methods"]
    wise = next(entry for entry in found["methods"] if entry["name"] == "wise_ft")
    assert {"name": "alpha", "type": "number >= 0 <= 1", "default": 0.5} in wise["options"]


def test_list_for_people_shows_every_option_as_it_is_typed() -> None:
    shown = surefoot("list").stdout
    assert "method.alpha=0.5" in shown
    assert "engine.lr=1e-05" in shown


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", "engine.lrr=1"], "did you mean engine.lr?"),
        (["train", "engine.lr=fast"], "engine.lr=fast"),
        (["train", "--method", "flipp"], "did you mean flyp?"),
        (["train", "--backbone", "icon_clip"], "did you mean iconclip?"),
        (["train", "enginelr"], "write option=value"),
        (["compare", "--methods", "flyp,wise"], "wise"),
        (["compare", "--seeds", "one"], "whole numbers"),
        (["train", "data.view=3"], "did you mean data.views?"),
        (["train", "--ouput", "x"], "ouput"),
        (["predict"], "Missing argument"),
        (["blend", "runs/a", "runs/b"], "kind=wise blends one run"),
        (["blend", "runs/a", "--kind", "soup"], "kind=soup: input should be 'wise', 'fisher', 'uniform'"),
        (["blend", "runs/a", "--part-alphas", "head"], "give each part once with its alpha"),
    ],
)
def test_wrong_usage_exits_with_2_and_names_the_option(words: list[str], told: str, tmp_path: Path) -> None:
    done = surefoot(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_failure_exits_with_1_and_says_what_is_missing(tmp_path: Path) -> None:
    for words in (
        ["train", "--task", tmp_path, *QUICK, "-o", tmp_path / "run"],
        ["report", tmp_path / "nothing"],
        ["blend", tmp_path / "nothing"],
        ["predict", tmp_path / "nothing", tmp_path / "x.png"],
    ):
        done = surefoot(*words)
        assert done.returncode == 1, done.stderr
        assert "surefoot: " in done.stderr
        assert "Traceback" not in done.stderr


def test_settings_may_be_written_as_options() -> None:
    assert settings_of(["--engine.lr", "1e-4", "--data.views=2", "seed=3"], "", {"method": "flyp", "task": ""}) == {
        "method": "flyp",
        "engine.lr": "1e-4",
        "data.views": "2",
        "seed": "3",
    }


def test_the_same_train_command_again_does_nothing(trained: Path, squares: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file()}
    done = surefoot("train", "--task", squares, "--method", "fine_tune", *QUICK, "-o", trained)
    assert done.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file()} == before


def test_a_run_folder_of_another_config_is_refused(trained: Path, squares: Path) -> None:
    done = surefoot("train", "--task", squares, "--method", "fine_tune", *QUICK, "seed=5", "-o", trained)
    assert done.returncode == 1
    assert "seed was 0, is 5" in done.stderr


def test_the_same_command_on_two_processes_trains_once(squares: Path, trained: Path, tmp_path: Path) -> None:
    words = ["train", "--task", squares, "--method", "fine_tune", *QUICK, "engine.devices=2", "-o", tmp_path / "two"]
    done = surefoot(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Written to") == 1
    assert results(tmp_path / "two")["splits"]["dim"]["count"] == results(trained)["splits"]["dim"]["count"]


def test_predict_writes_a_table_csv_and_json(trained: Path, squares: Path, tmp_path: Path) -> None:
    folder = squares / "test" / "red"
    table = surefoot("predict", trained, folder, folder / "0.png")
    assert table.stdout.count("0.png") == 2
    rows = list(csv.DictReader(io.StringIO(surefoot("predict", trained, folder, "--format", "csv").stdout)))
    assert [row["rank"] for row in rows] == ["1"] * 5
    assert all(0 < float(row["probability"]) <= 1 for row in rows)
    done = surefoot("predict", trained, folder, "--top-k", "3", "--format", "json", "-o", tmp_path / "out.json")
    assert (done.returncode, done.stdout) == (0, "")
    entries = json.loads((tmp_path / "out.json").read_text())
    assert [len(entry["top"]) for entry in entries] == [3] * 5
    assert sum(item["probability"] for item in entries[0]["top"]) == pytest.approx(1, abs=1e-5)


def test_evaluate_repeats_the_numbers_of_the_run(trained: Path, squares: Path) -> None:
    done = surefoot("evaluate", trained, "--task", squares, "--json")
    assert json.loads(done.stdout) == results(trained)["splits"]


def test_evaluate_by_context_shows_a_line_a_context(trained: Path, squares: Path) -> None:
    words = ["evaluate", trained, "--task", squares, "data.workers=0", "--by-context"]
    done = surefoot(*words)
    assert done.returncode == 0, done.stderr
    assert "test: 15 images by estimated context" in done.stdout
    assert " of a {}. " in done.stdout
    found = json.loads(surefoot(*words, "--json").stdout)
    assert sum(group["count"] for group in found["dim"].values()) == 15
    both = surefoot(*words, "--by-text")
    assert both.returncode == 2
    assert "give one" in both.stderr


def test_evaluate_by_text_takes_other_classes_and_prints_their_groups(trained: Path, tmp_path: Path) -> None:
    words = ["evaluate", trained, "--task", "icongroups", "data.workers=0"]
    refused = surefoot(*words)
    assert refused.returncode == 1
    assert "give --by-text" in refused.stderr
    done = surefoot(*words, "--by-text")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    groups = ["animal", "animal", "vehicle", "vehicle", "of"]
    assert [line.split()[0] for line in lines] == ["validation", *groups, "test", *groups]
    assert "--output=nowhere/x.json" in surefoot(*words, "--by-text", "-o", "nowhere/x.json").stderr
    found = json.loads(surefoot(*words, "--by-text", "--json", "-o", tmp_path / "found.json").stdout)
    assert json.loads((tmp_path / "found.json").read_text(encoding="utf-8")) == found
    assert {name: group["count"] for name, group in found["test"]["groups"].items()} == {
        "animal on grass": 139,
        "animal on water": 139,
        "vehicle on grass": 102,
        "vehicle on water": 102,
    }
    worst, weighted = (found["test"][key] for key in ("worst_group_accuracy", "reweighted_accuracy"))
    assert lines[-1] == f"  of the groups: worst {100 * worst:.1f} %, re-weighted {100 * weighted:.1f} %"


def test_check_says_what_is_there_and_fails_on_errors(squares: Path, tmp_path: Path) -> None:
    done = surefoot("check", squares)
    assert done.returncode == 0, done.stdout
    assert "36" in done.stdout
    broken = tmp_path / "broken"
    for split in ("train", "validation", "test"):
        for name in ("a", "b"):
            (broken / split / name).mkdir(parents=True)
            (broken / split / name / "1.png").write_bytes((squares / "test" / "red" / "0.png").read_bytes())
    (broken / "train" / "a" / "2.png").write_bytes(b"")
    done = surefoot("check", broken, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["verdict"] == "errors"


def test_check_says_what_keeps_a_task_from_loading_on_standard_output(tmp_path: Path) -> None:
    done = surefoot("check", tmp_path / "nowhere", "--page", tmp_path / "pages" / "check.html")
    assert done.returncode == 1
    assert "error: task: task.root=" in done.stdout
    assert "Traceback" not in done.stderr
    assert "no such file or folder" in (tmp_path / "pages" / "check.html").read_text(encoding="utf-8")


def test_check_takes_options_of_its_own_and_refuses_wrong_ones(squares: Path, tmp_path: Path) -> None:
    words = ["check", squares, "--look-alike", "0", "--page", tmp_path / "check.html", "--json"]
    done = surefoot(*words, "--backbone", "tiny")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["format"] == 1
    assert "Page:" in done.stderr
    assert (tmp_path / "check.html").exists()
    assert surefoot("check", squares, "--look-alike", "12").returncode == 2
    done = surefoot("check", squares, "--pages", "x")
    assert done.returncode == 2
    assert "did you mean --page?" in done.stderr


def test_the_options_default_is_that_of_the_check() -> None:
    from surefoot.data.check import LOOK_ALIKE
    from surefoot.data.look_alikes import MOST_BITS

    option = inspect.signature(cli.check).parameters["look_alike"]
    assert (option.default, option.annotation.__metadata__[0].max) == (LOOK_ALIKE, MOST_BITS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_saved_exits_with_130_and_goes_on(
    number: signal.Signals, squares: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    long = [word.replace("epochs=2", "epochs=60") for word in QUICK]
    words = ["train", "--task", squares, "--method", "fine_tune", *long, "-o", folder]
    process = subprocess.Popen([*SUREFOOT, *map(str, words)], stderr=subprocess.PIPE, text=True)
    wait_for_lines(process, folder / "metrics.jsonl", 3)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in told
    stopped = len((folder / "metrics.jsonl").read_text().splitlines())
    done = surefoot(*words)
    assert done.returncode == 0, done.stderr
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(180))
    assert stopped < 180


def results(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return content


def wait_for_lines(process: subprocess.Popen[str], path: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while not path.is_file() or len(path.read_text().splitlines()) < count:
        assert process.poll() is None, "the run ended before it was interrupted"
        assert time.monotonic() < deadline, f"{path} never got {count} lines"
        time.sleep(0.02)


def test_the_shell_completes_commands() -> None:
    asked = {"_SUREFOOT_COMPLETE": "complete_bash", "COMP_WORDS": "surefoot comp", "COMP_CWORD": "1"}
    script = [sys.executable, "-c", "import sys; sys.argv[0] = 'surefoot'; from surefoot.cli import main; main()"]
    done = subprocess.run(script, capture_output=True, text=True, check=False, env={**os.environ, **asked})
    assert done.stdout.split() == ["compare"]


def test_torchrun_starts_the_processes_itself(squares: Path, tmp_path: Path) -> None:
    words = ["train", "--task", squares, "--method", "flyp", *QUICK, "engine.devices=2", "-o", tmp_path / "run"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*torchrun, "-m", "surefoot", *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Written to") == 1
