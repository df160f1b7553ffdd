import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from surefoot.backbones.base import load_backbone
from surefoot.blending import ALPHAS, blend
from surefoot.classifier import Classifier
from surefoot.data.prompts import Prompts
from surefoot.run import Run, load_task, train
from surefoot.weights import interpolate

Train = Callable[..., Run]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def fine_tuned(folder: Path, quick: dict[str, Any]) -> Run:
    """A run that went so far that its blends differ."""
    return train(folder / "ft", {**quick, "method": "fine_tune", "engine.epochs": 6, "engine.lr": 0.01})


@pytest.fixture(scope="module")
def zero_shot(folder: Path, quick: dict[str, Any]) -> Run:
    return train(folder / "zs", {**quick, "method": "zero_shot"})


@pytest.fixture(scope="module")
def swept(fine_tuned: Run, zero_shot: Run) -> Run:
    return blend(fine_tuned.folder)


def test_the_ends_of_the_sweep_are_the_zero_shot_model_and_the_run(swept: Run, fine_tuned: Run, zero_shot: Run) -> None:
    points = {point["alpha"]: point for point in swept.results["sweep"]}
    assert tuple(points) == ALPHAS == (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
    for alpha, run in ((0, zero_shot), (1, fine_tuned)):
        splits = run.results["splits"]
        assert points[alpha] == {
            "alpha": alpha,
            "validation_accuracy": splits["validation"]["accuracy"],
            "id_accuracy": splits["test"]["accuracy"],
            "shift_accuracy": splits["dim"]["accuracy"],
        }
    assert points[0]["id_accuracy"] != points[1]["id_accuracy"]


def test_validation_chooses_and_of_equals_the_one_nearest_to_zero_shot(swept: Run) -> None:
    assert swept.results["selected_on"] == "validation"
    accuracy = {point["alpha"]: point["validation_accuracy"] for point in swept.results["sweep"]}
    best = min(alpha for alpha in accuracy if accuracy[alpha] == max(accuracy.values()))
    provenance = swept.classifier().provenance
    assert (provenance["alpha"], provenance["blend_of"], provenance["selected_on"]) == (best, "ft", "validation")
    assert swept.results["splits"]["validation"]["accuracy"] == accuracy[best]


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_a_blend_holds_the_average_of_the_weights(fine_tuned: Run, squares: Path, tmp_path: Path, alpha: float) -> None:
    found = blend(fine_tuned.folder, tmp_path / "blend", alphas=[alpha])
    prompts = Prompts.from_task(load_task("folder", options={"root": str(squares)}))
    start = Classifier.zero_shot(load_backbone("tiny"), prompts).state_dict()
    expected = interpolate(start, fine_tuned.classifier().state_dict(), alpha)
    weights = found.classifier().state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert found.results["selected_on"] == "none"  # one alpha is no choice
    assert found.results["method"] == "fine_tune + blend"


def test_a_blend_is_calibrated_anew(swept: Run, fine_tuned: Run) -> None:
    assert swept.classifier().temperature == swept.results["temperature"]
    assert swept.results["temperature"] != fine_tuned.results["temperature"]


def test_a_blend_is_a_finished_run_beside_the_first_and_leaves_that_alone(swept: Run, fine_tuned: Run) -> None:
    assert swept.folder == fine_tuned.folder.with_name("ft-blend")
    assert {path.name for path in swept.folder.iterdir()} == {
        "run.json", "results.json", "predictions.npz", "classifier",
    }  # fmt: skip
    assert json.loads((fine_tuned.folder / "results.json").read_text())["sweep"] == []


def test_the_same_blend_again_is_not_done_again(swept: Run, fine_tuned: Run) -> None:
    before = (swept.folder / "results.json").stat().st_mtime_ns
    assert blend(fine_tuned.folder).results == swept.results
    assert (swept.folder / "results.json").stat().st_mtime_ns == before


def test_other_alphas_into_the_same_folder_are_refused(swept: Run, fine_tuned: Run) -> None:
    with pytest.raises(ValueError, match=r"ft-blend holds a blend at alpha 0\.0, .*; give another output folder"):
        blend(fine_tuned.folder, alphas=[0.5])


def test_a_blend_into_a_run_is_refused(fine_tuned: Run) -> None:
    with pytest.raises(ValueError, match="holds a run that is no blend; give another output folder"):
        blend(fine_tuned.folder, fine_tuned.folder)


def test_a_blend_into_the_folder_of_other_settings_is_refused(fine_tuned: Run, zero_shot: Run) -> None:
    with pytest.raises(ValueError, match="holds a run with other settings"):
        blend(fine_tuned.folder, zero_shot.folder)


@pytest.mark.parametrize("method", ["fine_tune", "lp_ft"])
def test_a_linear_head_has_no_zero_shot_form_and_the_remedy_is_named(
    tmp_path: Path, quick: dict[str, Any], method: str
) -> None:
    run = train(tmp_path / "run", {**quick, "method": method, "method.head": "linear", "engine.epochs": 1})
    with pytest.raises(ValueError, match=r"run has a linear head \(method\.head=linear\).*method\.head=scaled"):
        blend(run.folder)
    assert not (tmp_path / "run-blend").exists()


def test_both_towers_of_a_contrastive_run_are_averaged(tmp_path: Path, quick: dict[str, Any]) -> None:
    run = train(tmp_path / "flyp", {**quick, "method": "flyp", "engine.epochs": 1})
    half = blend(run.folder, alphas=[0.5]).classifier().state_dict()
    start, end = load_backbone("tiny").state_dict(), run.classifier().state_dict()
    for name in ("text.projection.weight", "image.projection.weight", "log_scale"):
        assert not torch.equal(start[name], end[f"backbone.{name}"])
        torch.testing.assert_close(half[f"backbone.{name}"], (start[name] + end[f"backbone.{name}"]) / 2)


@pytest.mark.parametrize("alphas", [[], [1.5], [0.5, -0.1], [float("nan")]])
def test_alphas_that_lie_outside_are_refused(tmp_path: Path, alphas: list[float]) -> None:
    with pytest.raises(ValueError, match=r"alphas is .*; give one or more numbers from 0 \(zero-shot\) to 1"):
        blend(tmp_path, alphas=alphas)


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"results\.json is missing; the run is unfinished"):
        blend(tmp_path / "run")
