"""Blends of one run: the numbers of each part, with alphas of their own and with Fisher information."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from surefoot.backbones.base import load_backbone
from surefoot.blending import blend, zero_shot_curve
from surefoot.blending.fisher import fisher_information
from surefoot.classifier import Classifier, Head
from surefoot.config import RunConfig, resolve
from surefoot.data.prompts import Prompts
from surefoot.measuring import evaluate
from surefoot.run import Parts, Run, train

CLASSES = ("blue", "green", "red")


def zero_shot_state(run: Run) -> dict[str, Tensor]:
    """The weights that a run on the tiny backbone started from."""
    task = Parts.build(config_of(run)).task
    return dict(Classifier.zero_shot(load_backbone("tiny"), Prompts.from_task(task)).state_dict())


def config_of(run: Run) -> RunConfig:
    return resolve(json.loads((run.folder / "run.json").read_text())["config"])


def between(start: Tensor, end: Tensor, alpha: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    return (1 - alpha) * start.double().numpy() + alpha * end.double().numpy()


def test_a_tower_and_the_head_have_alphas_of_their_own(fine_tuned: Run, tmp_path: Path) -> None:
    found = blend(fine_tuned.folder, tmp_path / "b", alphas=[0.25], part_alphas={"image": 0.5, "head": 0.75})
    start, end, mixed = zero_shot_state(fine_tuned), fine_tuned.classifier().state_dict(), found.classifier()
    for name, tensor in mixed.state_dict().items():
        alpha = 0.5 if name.startswith("backbone.image.") else 0.75 if name.startswith("head.") else 0.25
        np.testing.assert_allclose(tensor.numpy(), between(start[name], end[name], alpha), rtol=1e-5, atol=1e-6)
    assert found.results["sweep"][0]["alpha"] == mixed.provenance["alpha"] == 0.25
    assert mixed.provenance["blend"]["part_alphas"] == {"image": [0.5], "head": [0.75]}


def test_the_text_tower_may_have_its_alpha(contrastive: list[Run], tmp_path: Path) -> None:
    run = contrastive[0]
    mixed = blend(run.folder, tmp_path / "b", alphas=[1], part_alphas={"text": 0}).classifier().state_dict()
    start, end = zero_shot_state(run), run.classifier().state_dict()
    for name, tensor in mixed.items():
        assert torch.equal(tensor, (start if name.startswith("backbone.text.") else end)[name])


def test_the_rest_is_swept_where_the_head_has_its_alpha(fine_tuned: Run, squares: Path, tmp_path: Path) -> None:
    found = blend(fine_tuned.folder, tmp_path / "b", alphas=[0, 1], part_alphas={"head": 1})
    first, last = found.results["sweep"]
    assert (first["alpha"], last["alpha"], found.results["selected_on"]) == (0, 1, "validation")
    assert last["id_accuracy"] == fine_tuned.results["splits"]["test"]["accuracy"]
    old_tower_new_head = Classifier(load_backbone("tiny"), fine_tuned.classifier().head, classes=CLASSES)
    splits = evaluate(old_tower_new_head, {"task": str(squares), "data.workers": 0})
    assert first["id_accuracy"] == splits["test"]["accuracy"]
    assert torch.equal(found.classifier().head.weight, fine_tuned.classifier().head.weight)


def test_each_block_of_the_image_tower_has_the_alpha_of_its_place(
    clip_folder: Path, quick: dict[str, Any], tmp_path: Path
) -> None:
    clip = {"backbone": str(clip_folder), "task.templates": ["{}"]}
    run = train(tmp_path / "ft", {**quick, **clip, "method": "fine_tune", "engine.epochs": 1, "engine.lr": 0.001})
    found = blend(run.folder, alphas=[1], part_alphas={"blocks": (0.25, 0.5)})
    start, end = load_backbone(str(clip_folder)).state_dict(), run.classifier().state_dict()
    moved = 0
    for name, tensor in found.classifier().backbone.state_dict().items():
        alpha = 0.25 if ".layers.0." in name else 0.5 if ".layers.1." in name else 1
        alpha = 1 if name.startswith("text.") else alpha
        expected = between(start[name], end[f"backbone.{name}"], alpha)
        np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-5, atol=1e-6)
        moved += not torch.equal(start[name], end[f"backbone.{name}"])
    assert moved > 20


def test_a_contrastive_head_is_averaged_or_made_anew_by_the_averaged_text_tower(
    contrastive: list[Run], tmp_path: Path
) -> None:
    run = contrastive[0]
    averaged = blend(run.folder, tmp_path / "average", alphas=[0.5]).classifier()
    remade = blend(run.folder, tmp_path / "text", alphas=[0.5], head="text").classifier()
    for name, tensor in averaged.backbone.state_dict().items():
        assert torch.equal(tensor, remade.backbone.state_dict()[name])
    start, end = zero_shot_state(run), run.classifier().state_dict()
    expected = between(start["head.weight"], end["head.weight"], 0.5)
    np.testing.assert_allclose(averaged.head.weight.detach().numpy(), expected, rtol=1e-5, atol=1e-6)
    prompts = Prompts.from_task(Parts.build(config_of(run)).task)
    anew = Head.zero_shot(averaged.backbone, prompts)
    assert torch.equal(remade.head.weight, anew.weight)
    assert not torch.equal(remade.head.weight, averaged.head.weight)


@pytest.mark.parametrize("alpha", [0, 1])
def test_at_the_ends_both_heads_are_the_same(contrastive: list[Run], tmp_path: Path, alpha: float) -> None:
    run = contrastive[0]
    heads = [
        blend(run.folder, tmp_path / rule, alphas=[alpha], head=rule).classifier().head for rule in ("average", "text")
    ]
    torch.testing.assert_close(heads[0].weight, heads[1].weight)


def test_a_fisher_blend_is_the_formula_with_both_models_information(fine_tuned: Run, tmp_path: Path) -> None:
    found = blend(fine_tuned.folder, tmp_path / "b", kind="fisher", alphas=[0.3], fisher_images=5)
    config = config_of(fine_tuned)
    parts = Parts.build(config)
    start, end = zero_shot_state(fine_tuned), fine_tuned.classifier().state_dict()
    information = []
    for state in (start, end):
        classifier = fine_tuned.classifier()
        classifier.load_state_dict(state)
        information.append(fisher_information(classifier, parts.task.train, parts.data, parts.fabric, images=5, seed=0))
    for name, tensor in found.classifier().state_dict().items():
        if name in information[0]:
            c0 = 0.7 * np.maximum(information[0][name].double().numpy(), 1e-8)
            c1 = 0.3 * np.maximum(information[1][name].double().numpy(), 1e-8)
            expected = (c0 * start[name].double().numpy() + c1 * end[name].double().numpy()) / (c0 + c1)
        else:
            expected = between(start[name], end[name], 0.3)
        np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert found.results["method"] == "fine_tune + Fisher blend"
    assert not (found.folder / "last").exists()


def test_a_fisher_blend_has_the_ends_of_the_plain_one(fine_tuned: Run, tmp_path: Path) -> None:
    ends = blend(fine_tuned.folder, tmp_path / "fisher", kind="fisher", alphas=[0, 1], fisher_images=4)
    assert ends.results["sweep"] == blend(fine_tuned.folder, tmp_path / "wise", alphas=[0, 1]).results["sweep"]


def test_a_stopped_fisher_blend_goes_on_with_what_it_measured(fine_tuned: Run, tmp_path: Path) -> None:
    options: dict[str, Any] = {"kind": "fisher", "alphas": [0.5], "fisher_images": 4}
    folder = blend(fine_tuned.folder, tmp_path / "b", **options).folder
    (folder / "results.json").unlink()
    weights = fine_tuned.classifier().backbone.image.state_dict()
    alike = {f"backbone.image.{name}": torch.ones_like(tensor) for name, tensor in weights.items()}
    (folder / "last").mkdir()
    for name in ("zero_shot", "run"):  # with the same for all, it is the plain mean that comes out
        save_file(alike, folder / "last" / f"fisher_{name}.safetensors")
    mixed = blend(fine_tuned.folder, tmp_path / "b", **options).classifier()
    plain = blend(fine_tuned.folder, tmp_path / "plain", alphas=[0.5]).classifier()
    torch.testing.assert_close(dict(mixed.state_dict()), dict(plain.state_dict()))


def test_the_curve_of_a_run_is_its_sweep_and_a_linear_head_has_none(
    fine_tuned: Run, quick: dict[str, Any], tmp_path: Path
) -> None:
    parts = Parts.build(config_of(fine_tuned))
    points = zero_shot_curve(parts, fine_tuned.folder)
    assert points == blend(fine_tuned.folder, tmp_path / "b").results["sweep"]
    linear = train(tmp_path / "linear", {**quick, "method": "linear_probe", "method.head": "linear"})
    assert zero_shot_curve(parts, linear.folder) == []
