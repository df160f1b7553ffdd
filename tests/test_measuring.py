"""A finished classifier measured with its head, and by text alone: on its own task and on one with other classes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from surefoot.classifier import Classifier, Head
from surefoot.data.batch import DataConfig, evaluation_batches
from surefoot.data.prompts import Prompts
from surefoot.measuring import evaluate, evaluate_by_context, evaluate_by_text, refuse_training
from surefoot.run import Run, load_task, train
from surefoot.run_folder import RunFolder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, quick: dict[str, Any]) -> dict[str, Run]:
    """Of methods that move nothing, the head, the image tower, and both towers."""
    folder = tmp_path_factory.mktemp("runs")
    far = {**quick, "engine.epochs": 4, "engine.lr": 0.01}
    return {name: train(folder / name, {**far, "method": name}) for name in ("zero_shot", "linear_probe", "flyp")}


@pytest.fixture(scope="module")
def shades(tmp_path_factory: pytest.TempPathFactory, squares: Path) -> Path:
    """The squares under other classes, in a table with groups: warm (red) and cold (green and blue)."""
    root = tmp_path_factory.mktemp("shades")
    shutil.copytree(squares, root / "squares")
    rows = ["path,label,split,group"]
    for split in ("train", "validation", "test"):
        for file in sorted((squares / split).glob("*/*.png")):
            colour = file.parent.name
            rows.append(
                f"squares/{file.relative_to(squares)},{colour},{split},{'odd' if int(file.stem) % 2 else 'even'}"
            )
    (root / "manifest.csv").write_text("\n".join(rows))
    (root / "classes.yaml").write_text(
        "classes: [{name: warm, synonyms: [red]}, {name: cold, synonyms: [green, blue]}]\ntemplates: ['a {} one']"
    )
    return root


@pytest.fixture
def elsewhere(shades: Path, quick: dict[str, Any]) -> dict[str, Any]:
    return {**quick, "task": str(shades), "task.prompt_names": "both"}


def test_a_run_measured_again_has_its_own_numbers(runs: dict[str, Run], quick: dict[str, Any]) -> None:
    for run in runs.values():
        assert evaluate(run.folder, quick) == run.results["splits"]
        assert evaluate(run.classifier(), quick) == run.results["splits"]


def test_where_no_tower_moved_text_gives_the_numbers_of_zero_shot(runs: dict[str, Run], quick: dict[str, Any]) -> None:
    expected = runs["zero_shot"].results["splits"]
    assert evaluate_by_text(runs["zero_shot"].folder, quick) == expected
    probed = runs["linear_probe"]
    assert probed.results["splits"] != expected
    assert evaluate_by_text(probed.folder, quick) == expected


def test_where_text_made_the_head_anyway_nothing_changes(runs: dict[str, Run], quick: dict[str, Any]) -> None:
    assert evaluate_by_text(runs["flyp"].folder, quick) == runs["flyp"].results["splits"]


def test_other_classes_are_told_by_the_runs_own_towers_at_its_own_scale(
    runs: dict[str, Run], elsewhere: dict[str, Any]
) -> None:
    sentences = [["a warm one", "a red one"], ["a cold one", "a green one", "a blue one"]]
    found = {}
    for name, run in runs.items():
        backbone = run.classifier().backbone
        weight = (backbone.scale * backbone.zero_shot_weights(sentences)).detach()
        head = Head(weight, bias=torch.zeros(2), scale=torch.ones(()), convention="scaled")
        found[name] = evaluate_by_text(run.folder, elsewhere)
        assert found[name] == evaluate(Classifier(backbone, head, classes=("warm", "cold")), elsewhere)
    assert found["linear_probe"] == found["zero_shot"]
    assert found["flyp"]["test"]["nll"] != found["zero_shot"]["test"]["nll"]


def test_by_text_every_split_has_groups_and_a_temperature_of_its_own_validation(
    runs: dict[str, Run], elsewhere: dict[str, Any], shades: Path
) -> None:
    found = evaluate_by_text(runs["flyp"].folder, elsewhere)
    assert list(found) == ["validation", "test"]
    groups = found["test"]["groups"]
    assert {name: group["count"] for name, group in groups.items()} == {"even": 9, "odd": 6}
    assert found["test"]["worst_group_accuracy"] == min(group["accuracy"] for group in groups.values())
    assert found["test"]["reweighted_accuracy"] == pytest.approx(
        (groups["even"]["accuracy"] + groups["odd"]["accuracy"]) / 2
    )
    assert found["test"]["ece_calibrated"] != found["test"]["ece"]
    assert json.loads(json.dumps(found)) == found


def test_a_head_on_raw_features_does_not_matter_by_text(quick: dict[str, Any], tmp_path: Path) -> None:
    run = train(tmp_path / "run", {**quick, "method": "fine_tune", "method.head": "linear"})
    task = load_task("folder", options={"root": quick["task"]})
    alone = Classifier.zero_shot(run.classifier().backbone, Prompts.from_task(task))
    assert evaluate_by_text(run.folder, quick) == evaluate(alone, quick)


def test_other_classes_are_refused_with_the_way_out(runs: dict[str, Run], elsewhere: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"3 classes, task 'shades\d*' has 2.*--by-text.*evaluate_by_text"):
        evaluate(runs["flyp"].folder, elsewhere)


def test_measuring_leaves_the_run_as_it_is(runs: dict[str, Run], elsewhere: dict[str, Any]) -> None:
    folder = RunFolder(runs["flyp"].folder)
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    evaluate_by_text(folder.path, elsewhere)
    evaluate_by_text(folder.classifier, elsewhere)
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("setting", ["method", "backbone", "engine.lr"])
def test_settings_of_training_are_refused_on_the_command_line(setting: str) -> None:
    with pytest.raises(ValueError, match=f"{setting}: it is a setting of training"):
        refuse_training({"task": "iconshift", "engine.devices": 1, setting: "1"})


def test_by_context_each_image_counts_once_under_the_context_nearest_to_it(
    runs: dict[str, Run], quick: dict[str, Any]
) -> None:
    task = load_task(quick["task"])
    found = evaluate_by_context(runs["flyp"].folder, quick)
    assert list(found) == list(task.tests)
    backbone = runs["zero_shot"].classifier().backbone
    contexts = backbone.zero_shot_weights(Prompts.from_task(task).context_sentences())  # (M, D)
    for name, groups in found.items():
        split, results = task.tests[name], runs["flyp"].results["splits"][name]
        assert sum(group["count"] for group in groups.values()) == len(split)
        right = sum(group["accuracy"] * group["count"] for group in groups.values())
        assert right / len(split) == pytest.approx(results["accuracy"])
        (batch,) = evaluation_batches(split, backbone.image_spec, DataConfig(workers=0))
        with torch.no_grad():
            nearest = (backbone.image(batch.images) @ contexts.T).argmax(-1)
        expected = torch.bincount(nearest, minlength=len(task.contexts)).tolist()
        assert [groups.get(context, {"count": 0})["count"] for context in task.contexts] == expected
    assert found == evaluate_by_context(runs["flyp"].classifier(), quick)


def test_by_context_needs_two_contexts_the_classes_and_a_known_start(
    runs: dict[str, Run], quick: dict[str, Any], elsewhere: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"one context only, 'a \{\} there'"):
        evaluate_by_context(runs["flyp"].folder, {**quick, "task.contexts": ["a {} there"]})
    with pytest.raises(ValueError, match="3 classes, task"):
        evaluate_by_context(runs["flyp"].folder, elsewhere)
    stranger = runs["flyp"].classifier()
    stranger.provenance = {}
    with pytest.raises(ValueError, match="give the folder of a run"):
        evaluate_by_context(stranger, quick)
