import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from surefoot.backbones.base import load_backbone
from surefoot.blending import ALPHAS, blend
from surefoot.classifier import Classifier
from surefoot.cli import app
from surefoot.data.prompts import Prompts
from surefoot.report.records import read_records
from surefoot.run import Run, load_task, train
from surefoot.weights import interpolate


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
    with pytest.raises(ValueError, match=r"blend\.alphas was \[0\.0, .*is \[0\.5\]\); give another output folder"):
        blend(fine_tuned.folder, alphas=[0.5])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"kind": "fisher"}, "blend.kind was 'wise', is 'fisher'"),
        ({"head": "text"}, "blend.head was 'average', is 'text'"),
        ({"part_alphas": {"head": 0.5}}, "blend.part_alphas.head was 'absent', is .0.5."),
    ],
)
def test_another_blend_into_the_same_folder_is_refused(
    swept: Run, fine_tuned: Run, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=rf"{told}.*give another output folder"):
        blend(fine_tuned.folder, swept.folder, **options)


def test_the_blend_of_another_run_into_the_same_folder_is_refused(swept: Run, siblings: list[Run]) -> None:
    with pytest.raises(ValueError, match=r"blend.runs was \['runs0/ft'\], is \['fine_tune/seed-0'\]"):
        blend(siblings[0].folder, swept.folder)


def test_the_blend_of_a_run_that_was_made_anew_is_refused(with_head: Any, runs: Path, tmp_path: Path) -> None:
    run = with_head(tmp_path / "ft", lambda head: head)
    blend(run, alphas=[0.5])
    before = (run / "predictions.npz").read_bytes()
    (run / "predictions.npz").write_bytes((runs / "zs" / "predictions.npz").read_bytes())
    with pytest.raises(ValueError, match=r"blend\.predictions was"):
        blend(run, alphas=[0.5])
    (run / "predictions.npz").write_bytes(before)
    blend(run, alphas=[0.5])


def test_a_blend_that_was_stopped_is_done_by_the_same_command_and_refused_to_others(
    fine_tuned: Run, tmp_path: Path
) -> None:
    whole = blend(fine_tuned.folder, tmp_path / "blend", alphas=[0.5])
    (whole.folder / "results.json").unlink()
    with pytest.raises(ValueError, match="holds a run with other settings"):
        blend(fine_tuned.folder, tmp_path / "blend", alphas=[0.4])
    assert blend(fine_tuned.folder, tmp_path / "blend", alphas=[0.5]).results == whole.results


def test_training_into_the_folder_of_a_blend_is_refused(swept: Run, quick: dict[str, Any]) -> None:
    settings = {**quick, "method": "fine_tune", "engine.epochs": 6, "engine.lr": 0.01}
    with pytest.raises(ValueError, match="holds a run with other settings"):
        train(swept.folder, settings)


def test_run_json_and_the_classifier_say_what_was_blended(swept: Run) -> None:
    about = json.loads((swept.folder / "run.json").read_text())["blend"]
    assert (about["kind"], about["runs"], about["alphas"]) == ("wise", ["runs0/ft"], list(ALPHAS))
    assert swept.classifier().provenance["blend"] == about


def test_a_blend_can_be_blended_again(swept: Run, tmp_path: Path) -> None:
    again = blend(swept.folder, tmp_path / "again", alphas=[1])
    assert again.results["method"] == "fine_tune + blend + blend"
    assert again.results["splits"] == swept.results["splits"]


def test_a_blend_stands_in_the_report(swept: Run, siblings: list[Run], runs: Path) -> None:
    blend([run.folder for run in siblings], kind="uniform")
    records = read_records(runs)
    methods = {row["run"]: row["method"] for row in records.comparison["rows"]}
    assert methods["ft-blend"] == "fine_tune + blend"
    assert methods["fine_tune/seed-0-uniform"] == "fine_tune + uniform soup"
    assert [curve["method"] for curve in records.comparison["curves"]] == ["fine_tune + blend"]


def test_the_command_tells_each_alpha_or_each_run_and_who_chose(siblings: list[Run], tmp_path: Path) -> None:
    folders = [str(run.folder) for run in siblings]
    command = CliRunner()
    words = ["blend", folders[0], "--alpha", "0,1", "--part-alphas", "head=0.5", "-o", str(tmp_path / "b")]
    done = command.invoke(app, words)
    assert done.exit_code == 0, done.output
    assert [line[:10] for line in done.output.splitlines() if line.startswith("alpha")] == ["alpha 0.00", "alpha 1.00"]
    assert f"Written to {tmp_path / 'b'} (chosen on: validation)" in done.output
    done = command.invoke(app, ["blend", *folders, "--kind", "greedy", "-o", str(tmp_path / "soup")])
    assert done.exit_code == 0, done.output
    lines = [line for line in done.output.splitlines() if "in the soup" in line]
    assert [line.split(":")[0] for line in lines] == [
        entry["run"] for entry in json.loads((tmp_path / "soup" / "results.json").read_text())["selection"]
    ]
    assert lines[0].endswith("kept")
    assert "fine_tune + greedy soup (seed 0)" in done.output


def test_a_blend_into_a_run_is_refused(fine_tuned: Run, zero_shot: Run) -> None:
    for run in (fine_tuned, zero_shot):
        with pytest.raises(ValueError, match="holds a run that is no blend; give another output folder"):
            blend(fine_tuned.folder, run.folder)


@pytest.mark.parametrize("method", ["fine_tune", "lp_ft"])
def test_a_linear_head_has_no_zero_shot_form_and_the_remedy_is_named(
    tmp_path: Path, quick: dict[str, Any], method: str
) -> None:
    run = train(tmp_path / "run", {**quick, "method": method, "method.head": "linear", "engine.epochs": 1})
    with pytest.raises(ValueError, match=r"run has a linear head \(method\.head=linear\).*method\.head=scaled"):
        blend(run.folder)
    assert not (tmp_path / "run-blend").exists()


def test_both_towers_of_a_contrastive_run_are_averaged(contrastive: list[Run], tmp_path: Path) -> None:
    run = contrastive[0]
    half = blend(run.folder, tmp_path / "half", alphas=[0.5]).classifier().state_dict()
    start, end = load_backbone("tiny").state_dict(), run.classifier().state_dict()
    for name in ("text.projection.weight", "image.projection.weight", "log_scale"):
        assert not torch.equal(start[name], end[f"backbone.{name}"])
        torch.testing.assert_close(half[f"backbone.{name}"], (start[name] + end[f"backbone.{name}"]) / 2)


def test_options_that_do_not_fit_leave_no_folder(fine_tuned: Run, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has none; leave blocks out"):
        blend(fine_tuned.folder, tmp_path / "blend", part_alphas={"blocks": 0.5})
    with pytest.raises(ValueError, match="never trained its text tower"):
        blend(fine_tuned.folder, tmp_path / "blend", head="text")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("alphas", [[], [1.5], [0.5, -0.1], [float("nan")]])
def test_alphas_that_lie_outside_are_refused(tmp_path: Path, alphas: list[float]) -> None:
    with pytest.raises(ValueError, match=r"alphas is .*; give one or more numbers from 0 \(zero-shot\) to 1"):
        blend(tmp_path, alphas=alphas)


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"results\.json is missing; the run is unfinished"):
        blend(tmp_path / "run")
