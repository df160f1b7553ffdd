"""Which runs may be averaged with each other."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from surefoot.blending import blend
from surefoot.blending.options import blend_options
from surefoot.blending.runs import open_runs
from surefoot.run import Run, train

Settings = dict[str, Any]


def edited(run: Run, folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a run with a change in one of its JSON files."""
    shutil.copytree(run.folder, folder)
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))
    return folder


def test_runs_that_differ_by_method_seed_and_budget_belong_together(
    siblings: list[Run], fine_tuned: Run, contrastive: list[Run]
) -> None:
    paths = [run.folder for run in (*siblings, fine_tuned, contrastive[0])]
    names = [source.name for source in open_runs(paths, blend_options({"kind": "uniform"}))]
    assert names == ["fine_tune/seed-0", "fine_tune/seed-1", "fine_tune/seed-2", "runs0/ft", "flyp/seed-0"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"backbone.seed": 1}, "backbone.seed is 0 and 1"),
        ({"backbone.dim": 16}, "backbone.dim is 32 and 16"),
        ({"method.head": "unit"}, "head is 'scaled' and 'unit'"),
        ({"method.head": "linear"}, "head is 'scaled' and 'linear'"),
    ],
)
def test_a_run_of_another_backbone_or_head_is_refused(
    siblings: list[Run], quick: Settings, tmp_path: Path, settings: Settings, told: str
) -> None:
    other = train(tmp_path / "other", {**quick, "method": "fine_tune", "engine.epochs": 1, **settings})
    with pytest.raises(ValueError, match=f"cannot be averaged: {told}; give runs of one task, backbone and head"):
        blend([siblings[0].folder, other.folder], kind="uniform")


def test_a_run_of_other_classes_or_data_is_refused(siblings: list[Run], tmp_path: Path) -> None:
    def rename(results: dict[str, Any]) -> None:
        results["classes"][0] = "cyan"

    def touch(record: dict[str, Any]) -> None:
        record["data"]["fingerprint"] = "other"

    classes = edited(siblings[1], tmp_path / "classes", "results.json", rename)
    data = edited(siblings[1], tmp_path / "data", "run.json", touch)
    task = edited(siblings[1], tmp_path / "task", "results.json", lambda results: results.update(task="pets"))
    for path, told in (
        (classes, "classes is .*cyan"),
        (data, "data is .* and 'other'"),
        (task, "task is .* and 'pets'"),
    ):
        with pytest.raises(ValueError, match=f"cannot be averaged: {told}"):
            blend([siblings[0].folder, path], kind="greedy")


def test_an_unfinished_run_among_others_is_named(siblings: list[Run], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing/results\.json is missing; the run is unfinished"):
        blend([siblings[0].folder, tmp_path / "nothing"], kind="uniform")


def test_a_run_that_is_given_twice_is_refused(siblings: list[Run]) -> None:
    folder = siblings[0].folder
    with pytest.raises(ValueError, match="seed-0 is given more than once"):
        blend([folder, siblings[1].folder, folder.parent / ".." / "fine_tune" / "seed-0"], kind="uniform")


def test_linear_heads_are_averaged_but_have_no_anchor_for_model_stock(quick: Settings, tmp_path: Path) -> None:
    settings = {**quick, "method": "fine_tune", "method.head": "linear", "engine.epochs": 1}
    folders = [train(tmp_path / f"seed-{seed}", {**settings, "seed": seed}).folder for seed in range(2)]
    assert blend(folders, kind="uniform").results["method"] == "fine_tune + uniform soup"
    for options in ({"kind": "stock"}, {"kind": "uniform", "head": "text"}):
        with pytest.raises(ValueError, match=r"seed-0 has a linear head .*no zero-shot weights .*method\.head=scaled"):
            blend(folders, tmp_path / "refused", **options)
    assert not (tmp_path / "refused").exists()


def test_a_run_without_accuracy_on_validation_has_none_to_choose_by(siblings: list[Run], tmp_path: Path) -> None:
    path = edited(siblings[0], tmp_path / "run", "results.json", lambda results: results["splits"].pop("validation"))
    with pytest.raises(ValueError, match="run has no accuracy on validation, which kind=greedy chooses by"):
        open_runs([siblings[1].folder, path], blend_options({"kind": "greedy"}))
    open_runs([siblings[1].folder, path], blend_options({"kind": "uniform"}))
