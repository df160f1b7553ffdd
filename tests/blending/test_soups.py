"""Soups and Model Stock, against numpy and hand-made heads."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from surefoot.backbones.base import load_backbone
from surefoot.blending import blend
from surefoot.classifier import Classifier, Head
from surefoot.data.prompts import Prompts
from surefoot.run import Run, load_task

Heads = Callable[[Path, Callable[[dict[str, Tensor]], dict[str, Tensor]]], Path]


def folders(runs: list[Run]) -> list[Path]:
    return [run.folder for run in runs]


def test_a_uniform_soup_is_the_mean_of_all_weights(siblings: list[Run], tmp_path: Path) -> None:
    soup = blend(folders(siblings), tmp_path / "soup", kind="uniform")
    states = [run.classifier().state_dict() for run in siblings]
    for name, tensor in soup.classifier().state_dict().items():
        expected = np.mean([state[name].double().numpy() for state in states], axis=0)
        np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert soup.results["selected_on"] == "none"
    assert soup.results["sweep"] == soup.results["selection"] == []
    assert soup.results["seconds"] == pytest.approx(sum(run.results["seconds"] for run in siblings))
    provenance = soup.classifier().provenance
    assert provenance["soup_of"] == ["fine_tune/seed-0", "fine_tune/seed-1", "fine_tune/seed-2"]


def test_model_stock_starts_from_the_zero_shot_weights_with_their_head(
    siblings: list[Run], squares: Path, tmp_path: Path
) -> None:
    found = blend(folders(siblings[:2]), tmp_path / "stock", kind="stock")
    prompts = Prompts.from_task(load_task("folder", options={"root": str(squares)}))
    start = Classifier.zero_shot(load_backbone("tiny"), prompts).state_dict()
    first, second = (run.classifier().state_dict() for run in siblings[:2])
    cosines = []
    for name in ("head.weight", "backbone.image.projection.weight", "backbone.image.norm.bias"):
        origin, one, two = (state[name].double().numpy().ravel() for state in (start, first, second))
        one, two = one - origin, two - origin
        cosine = max(0, one @ two / np.linalg.norm(one) / np.linalg.norm(two))
        cosines.append(cosine)
        expected = origin + 2 * cosine / (1 + cosine) * (one + two) / 2
        mixed = found.classifier().state_dict()[name].numpy().ravel()
        np.testing.assert_allclose(mixed, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(
        found.classifier().backbone.text.state_dict()["projection.weight"], start["backbone.text.projection.weight"]
    )
    assert 0.1 < max(cosines) < 0.999
    assert found.results["method"] == "fine_tune + Model Stock"


def biased(**added: float) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """A head that prefers some colours whatever it sees."""
    bias = torch.tensor([added.get(colour, 0.0) for colour in ("blue", "green", "red")])
    return lambda head: {**head, "bias": head["bias"] + bias}


@pytest.fixture(scope="module")
def hand_made(with_head: Heads, fine_tuned: Run, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Runs that are right on one colour of three, but for `no_red`, which is right on two."""
    assert fine_tuned.results["splits"]["validation"]["accuracy"] == 1
    folder = tmp_path_factory.mktemp("heads")
    return [
        with_head(folder / "all_blue", biased(blue=9000)),
        with_head(folder / "all_red", biased(red=1000)),
        with_head(folder / "nothing", lambda head: {name: t if t.ndim == 0 else 0 * t for name, t in head.items()}),
        with_head(folder / "no_red", biased(red=-1000)),
    ]


def test_a_greedy_soup_takes_what_raises_validation_and_nothing_else(
    hand_made: list[Path], fine_tuned: Run, tmp_path: Path
) -> None:
    soup = blend(hand_made, tmp_path / "soup", kind="greedy")
    rounded = [
        (entry["run"].split("/")[1], round(3 * entry["validation_accuracy"]), round(3 * entry["soup_accuracy"]))
        for entry in soup.results["selection"]
    ]
    # the best first, the others, which are equal, in the order given; accuracy alone and in the soup, in thirds
    assert rounded == [("no_red", 2, 2), ("all_blue", 1, 1), ("all_red", 1, 3), ("nothing", 1, 3)]
    assert [entry["kept"] for entry in soup.results["selection"]] == [True, False, True, False]  # equal is not better
    assert soup.results["selected_on"] == "validation"
    assert soup.classifier().provenance["soup_of"] == [
        f"{hand_made[0].parent.name}/no_red",
        f"{hand_made[0].parent.name}/all_red",
    ]
    mixed, plain = soup.classifier().state_dict(), fine_tuned.classifier().state_dict()
    for name, tensor in mixed.items():  # their biases cancel
        torch.testing.assert_close(tensor, plain[name], rtol=1e-5, atol=1e-4)
    assert soup.results["splits"]["validation"]["accuracy"] == 1


def test_of_three_that_are_kept_each_weighs_a_third(with_head: Heads, fine_tuned: Run, tmp_path: Path) -> None:
    runs = [with_head(tmp_path / f"all_{colour}", biased(**{colour: 900.0})) for colour in ("blue", "green", "red")]
    soup = blend(runs, tmp_path / "soup", kind="greedy")
    assert [round(3 * entry["soup_accuracy"]) for entry in soup.results["selection"]] == [1, 2, 3]
    added = soup.classifier().head.bias - fine_tuned.classifier().head.bias
    np.testing.assert_allclose(added.detach().numpy(), 300, rtol=1e-5)


def test_a_greedy_soup_of_runs_on_data_that_changed_is_refused(
    siblings: list[Run], squares: Path, tmp_path: Path
) -> None:
    moved = []
    for run in siblings[:2]:
        moved.append(Path(shutil.copytree(run.folder, tmp_path / run.folder.name)))
        record = json.loads((moved[-1] / "run.json").read_text())
        record["data"]["fingerprint"] = "of other images"
        (moved[-1] / "run.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"kind=greedy compares .*but the data changed since .*kind=uniform"):
        blend(moved, tmp_path / "soup", kind="greedy")
    assert not (tmp_path / "soup").exists()
    blend(moved, tmp_path / "soup", kind="uniform")


@pytest.mark.parametrize("kind", ["uniform", "greedy", "stock"])
def test_the_same_soup_again_is_not_made_again_and_another_is_refused(
    siblings: list[Run], tmp_path: Path, kind: str
) -> None:
    soup = blend(folders(siblings), tmp_path / "soup", kind=kind)
    before = (soup.folder / "results.json").stat().st_mtime_ns
    assert blend(folders(siblings), tmp_path / "soup", kind=kind).results == soup.results
    assert (soup.folder / "results.json").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match=r"blend\.runs was .*; give another output folder"):
        blend(folders(siblings[:2]), tmp_path / "soup", kind=kind)


def test_a_soup_of_contrastive_runs_averages_heads_or_makes_one_from_the_mean_text_tower(
    contrastive: list[Run], squares: Path, tmp_path: Path
) -> None:
    averaged = blend(folders(contrastive), tmp_path / "average", kind="uniform").classifier()
    remade = blend(folders(contrastive), tmp_path / "text", kind="uniform", head="text").classifier()
    heads = [run.classifier().head.weight.double().detach().numpy() for run in contrastive]
    np.testing.assert_allclose(averaged.head.weight.detach().numpy(), np.mean(heads, axis=0), rtol=1e-5, atol=1e-6)
    prompts = Prompts.from_task(load_task("folder", options={"root": str(squares)}))
    assert torch.equal(remade.head.weight, Head.zero_shot(averaged.backbone, prompts).weight)
    assert not torch.allclose(remade.head.weight, averaged.head.weight)


def test_a_head_from_text_is_refused_where_one_run_never_trained_its_text_tower(
    contrastive: list[Run], siblings: list[Run], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"fine_tune/seed-0 never trained its text tower.*choose head=average"):
        blend([contrastive[0].folder, siblings[0].folder], tmp_path / "soup", kind="uniform", head="text")
    mixed = blend([contrastive[0].folder, siblings[0].folder], tmp_path / "soup", kind="uniform")
    assert mixed.results["method"] == "flyp, fine_tune + uniform soup"


def test_by_default_a_soup_stands_beside_the_first_run(siblings: list[Run]) -> None:
    soup = blend(folders(siblings[1:]), kind="stock")
    assert soup.folder == siblings[1].folder.with_name("seed-1-stock")
