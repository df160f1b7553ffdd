"""Run as a script it is one of several processes that evaluate together."""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from subprocess import Popen
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed

from surefoot.backbones.base import load_backbone
from surefoot.classifier import Classifier, Head
from surefoot.data.batch import DataConfig
from surefoot.data.prompts import Prompts
from surefoot.data.sources import FolderSource
from surefoot.data.task import Split, Task
from surefoot.evaluation.evaluate import evaluate_classifier, measure, predicted, split_logits

CLASSES = ("red", "green", "blue")
GROUPS = ("by day", "by night")
COLOURS = ((230, 20, 20), (20, 230, 20), (20, 20, 230))


@dataclass(frozen=True)
class Alone:
    """One process on the CPU."""

    global_rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def make_task(root: Path, *, counts: tuple[int, int] = (7, 1)) -> Task:
    """Squares with some noise; `home` and `dim` have as many images as `counts` says."""
    draw = np.random.default_rng(0)

    def split(name: str, count: int) -> Split:
        (root / name).mkdir(exist_ok=True)
        labels = np.arange(count) % 3
        for i, label in enumerate(labels):
            pixels = np.clip(draw.normal(0, 30, (16, 16, 3)) + COLOURS[label], 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
        paths = [f"{name}/{i}.png" for i in range(count)]
        return Split(name, FolderSource(root), paths, labels.astype(np.int64), np.arange(count, dtype=np.int64) % 2)

    tests = {"home": split("home", counts[0]), "dim": split("dim", counts[1])}
    template = ("a {}",)
    parts = {"train": split("train", 3), "validation": split("validation", 5)}
    return Task("squares", CLASSES, template, template, **parts, tests=tests, home="home", group_names=GROUPS)


def make_classifier() -> Classifier:
    prompts = Prompts(CLASSES, ("a {}", "one {}"), ("a bright {}",))
    return Classifier.zero_shot(load_backbone("tiny"), prompts)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return make_task(tmp_path_factory.mktemp("squares"))


def data(**options: Any) -> DataConfig:
    return DataConfig(workers=0, **options)


def one_by_one(classifier: Classifier, split: Split) -> Tensor:
    """The logits of each image, read and computed alone."""
    paths = [Path(split.source.root, path) for path in split.paths]  # type: ignore[attr-defined]
    spec = classifier.backbone.image_spec
    pixels = [torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1) / 255 for path in paths]
    mean, std = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    with torch.no_grad():
        return torch.cat([classifier(((image - mean) / std)[None]) for image in pixels])


# --- logits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 100])
def test_each_example_counts_once_whatever_the_batch_size(task: Task, batch_size: int) -> None:
    classifier = make_classifier()
    found = split_logits(classifier, task.tests["home"], data(eval_batch_size=batch_size), Alone())
    assert found.shape == (7, 3)
    torch.testing.assert_close(found, one_by_one(classifier, task.tests["home"]), rtol=1e-4, atol=1e-4)


def test_logits_are_float32_also_of_a_tower_that_computes_in_bfloat16(task: Task) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = split_logits(make_classifier(), task.tests["home"], data(), Alone())
    assert found.dtype == torch.float32
    assert not torch.equal(found, found.bfloat16().float())


def test_the_classifier_is_measured_in_eval_mode_and_left_as_it_was(task: Task) -> None:
    classifier = make_classifier().train()
    classifier.head.eval()
    modes: list[bool] = []
    classifier.backbone.image.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    classifier.backbone.image.patches.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    split_logits(classifier, task.tests["home"], data(), Alone())
    assert modes
    assert not any(modes)
    assert classifier.backbone.image.training
    assert not classifier.head.training


def test_classes_outside_the_mask_get_no_probability_and_are_never_predicted(task: Task) -> None:
    classifier = make_classifier()
    home = task.tests["home"]
    whole = split_logits(classifier, home, data(), Alone())
    two = home.subset([i for i, label in enumerate(home.labels) if label != 1])
    masked = split_logits(classifier, replace(two, class_mask=(0, 2)), data(), Alone())
    assert torch.equal(masked[:, [0, 2]], whole[home.labels != 1][:, [0, 2]])
    entry = measure(masked, two, task, temperature=2.0, bins=15)
    inside = masked[:, [0, 2]].double()
    labels = torch.from_numpy(two.labels) // 2
    assert entry["accuracy"] == pytest.approx((inside.argmax(-1) == labels).float().mean().item())
    assert entry["nll"] == pytest.approx(torch.nn.functional.cross_entropy(inside, labels).item())
    assert entry["class_accuracy"]["green"] is None
    kept = predicted(masked, two, temperature=2.0, top_k=3)
    assert set(kept["prediction"].tolist()) <= {0, 2}
    assert kept["top_confidence"][:, 2] == pytest.approx(0)


def test_merged_classes_count_as_one_under_the_first_with_the_highest_logit(task: Task) -> None:
    classifier, home = make_classifier(), task.tests["home"]
    whole = split_logits(classifier, home, data(), Alone())
    labels = np.where(home.labels == 2, 0, home.labels)
    joined = replace(home, labels=labels, class_mask=(0, 1), merged=((0, 2),))
    logits = split_logits(classifier, joined, data(), Alone())
    assert torch.equal(logits[:, 0], torch.maximum(whole[:, 0], whole[:, 2]))
    assert torch.equal(logits[:, 1], whole[:, 1])
    assert bool(logits[:, 2].isneginf().all())


def test_two_processes_count_each_example_once_also_of_a_split_with_one_image(tmp_path: Path) -> None:
    words = [sys.executable, __file__, str(tmp_path)]
    (tmp_path / "images").mkdir()
    task = make_task(tmp_path / "images")
    processes = [Popen([*words, str(rank)]) for rank in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    ranks = [load_file(tmp_path / f"{rank}.safetensors") for rank in range(2)]
    for name, split in task.tests.items():
        alone = split_logits(make_classifier(), split, data(eval_batch_size=2), Alone())
        assert torch.equal(ranks[0][name], ranks[1][name])
        torch.testing.assert_close(ranks[0][name], alone, rtol=1e-5, atol=1e-5)


def evaluate_as_one_of_two(folder: Path, rank: int) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    images = folder / "images"
    counts = {"home": 7, "dim": 1}
    splits = {
        name: Split(
            name,
            FolderSource(images),
            [f"{name}/{i}.png" for i in range(count)],
            np.arange(count, dtype=np.int64) % 3,
            np.full(count, -1, dtype=np.int64),
        )
        for name, count in counts.items()
    }
    place = Alone(rank, 2)
    found = {name: split_logits(make_classifier(), s, data(eval_batch_size=2), place) for name, s in splits.items()}
    save_file(found, folder / f"{rank}.safetensors")
    distributed.destroy_process_group()


# --- measures -------------------------------------------------------------------------------------------------------

# by hand: images of classes 0, 0, 1, 2 with these probabilities
PROBABILITIES = ((0.7, 0.2, 0.1), (0.3, 0.6, 0.1), (0.05, 0.9, 0.05), (0.1, 0.3, 0.6))
LOGITS = torch.tensor(PROBABILITIES).log() + 5.0


def four(task: Task) -> Split:
    labels = np.array([0, 0, 1, 2])
    return Split("four", task.train.source, ["a", "b", "c", "d"], labels, np.array([0, 1, 1, -1]))


def test_the_measures_of_four_images_are_those_worked_out_by_hand(task: Task) -> None:
    entry = measure(LOGITS, four(task), task, temperature=1.0, bins=4)
    assert entry["count"] == 4
    assert entry["accuracy"] == 3 / 4
    assert entry["nll"] == pytest.approx(-np.log([0.7, 0.3, 0.9, 0.6]).mean())
    assert entry["brier"] == pytest.approx((0.14 + 0.86 + 0.015 + 0.26) / 4)
    assert entry["ece"] == pytest.approx((abs(0.7 + 0.6 + 0.6 - 2) + abs(0.9 - 1)) / 4, abs=1e-6)
    assert entry["class_accuracy"] == {"red": 0.5, "green": 1.0, "blue": 1.0}
    assert entry["class_count"] == {"red": 2, "green": 1, "blue": 1}


def test_groups_have_accuracy_and_count_and_the_worst_is_named(task: Task) -> None:
    entry = measure(LOGITS, four(task), task, temperature=1.0, bins=15)
    day, night = {"accuracy": 1.0, "count": 1}, {"accuracy": 0.5, "count": 2}
    assert entry["groups"] == {"by day": day, "by night": night}
    assert entry["worst_group_accuracy"] == 0.5
    assert task.group_counts(task.train) == {"by day": 2, "by night": 1}
    assert entry["reweighted_accuracy"] == pytest.approx((2 * 1.0 + 1 * 0.5) / 3)


def test_without_groups_there_is_no_worst_one(task: Task) -> None:
    plain = replace(four(task), groups=np.full(4, -1))
    entry = measure(LOGITS, plain, task, temperature=1.0, bins=15)
    assert (entry["groups"], entry["worst_group_accuracy"], entry["reweighted_accuracy"]) == ({}, None, None)


def test_reliability_has_confidence_accuracy_and_count_of_each_bin(task: Task) -> None:
    found = measure(LOGITS, four(task), task, temperature=1.0, bins=4)["reliability"]
    assert found["count"] == [0, 0, 3, 1]
    assert found["confidence"] == [None, None, pytest.approx(1.9 / 3), pytest.approx(0.9)]
    assert found["accuracy"] == [None, None, pytest.approx(2 / 3), 1.0]


def test_the_temperature_changes_the_calibrated_ece_and_nothing_else(task: Task) -> None:
    one, two = (measure(LOGITS, four(task), task, temperature=t, bins=15) for t in (1.0, 3.0))
    assert one["ece_calibrated"] == pytest.approx(one["ece"])
    assert two["ece_calibrated"] != pytest.approx(one["ece"])
    assert {**one, "ece_calibrated": 0} == {**two, "ece_calibrated": 0}
    cooled = (LOGITS.double() / 3).softmax(-1)
    expected = measure(cooled.log(), four(task), task, temperature=1.0, bins=15)["ece"]
    assert two["ece_calibrated"] == pytest.approx(expected)


def test_predictions_hold_the_surest_classes_and_their_confidence(task: Task) -> None:
    found = predicted(LOGITS, four(task), temperature=2.0, top_k=2)
    assert found["label"].tolist() == [0, 0, 1, 2]
    assert found["prediction"].tolist() == [0, 1, 1, 2]
    assert found["confidence"] == pytest.approx([0.7, 0.6, 0.9, 0.6])
    assert found["top"].tolist()[1] == [1, 0]
    assert found["top_confidence"][1] == pytest.approx([0.6, 0.3])
    roots = LOGITS[1].softmax(-1).sqrt()  # a temperature of 2
    assert found["calibrated_confidence"][1] == pytest.approx(float(roots.max() / roots.sum()))
    kinds = {name: array.dtype.name for name, array in found.items()}
    assert kinds == {
        "label": "int32", "prediction": "int32", "confidence": "float32", "calibrated_confidence": "float32",
        "top": "int32", "top_confidence": "float32",
    }  # fmt: skip


def test_no_more_classes_are_kept_than_there_are(task: Task) -> None:
    assert predicted(LOGITS, four(task), temperature=2.0, top_k=9)["top"].shape == (4, 3)


@pytest.mark.parametrize("gap", [0.0, 1e-6])
def test_among_equal_confidences_the_prediction_is_the_one_that_accuracy_counts(task: Task, gap: float) -> None:
    logits = torch.zeros(4, 3)
    logits[:, 2] += gap  # too little for a confidence in float32 to tell
    entry = measure(logits, four(task), task, temperature=1.0, bins=15)
    kept = predicted(logits, four(task), temperature=2.0, top_k=3)
    assert entry["accuracy"] == (kept["prediction"] == kept["label"]).mean()
    assert kept["prediction"].tolist() == [2 if gap else 0] * 4


def test_a_classifier_that_gives_no_number_is_called_broken(task: Task) -> None:
    with pytest.raises(ValueError, match="NaN"):
        measure(LOGITS * torch.nan, four(task), task, temperature=1.0, bins=15)


# --- the whole task -------------------------------------------------------------------------------------------------


def test_validation_and_every_test_split_are_measured_and_train_is_not(task: Task) -> None:
    found = evaluate_classifier(make_classifier(), task, data(), Alone(), bins=7, top_k=2)
    assert list(found.splits) == ["validation", "home", "dim"]
    assert [entry["count"] for entry in found.splits.values()] == [5, 7, 1]
    assert len(found.splits["home"]["reliability"]["count"]) == 7
    assert found.predictions["home.top"].shape == (7, 2)
    assert len(found.predictions) == 3 * 6


def test_the_temperature_is_that_of_validation_alone(task: Task) -> None:
    one = evaluate_classifier(make_classifier(), task, data(), Alone())
    other = replace(task, tests={"home": task.train}, train=task.tests["home"])
    assert evaluate_classifier(make_classifier(), other, data(), Alone()).temperature == one.temperature
    moved = replace(task, validation=task.tests["home"])
    assert evaluate_classifier(make_classifier(), moved, data(), Alone()).temperature != one.temperature


def test_a_classifier_that_is_sure_and_right_is_found_to_be(task: Task) -> None:
    classifier = make_classifier()
    with torch.no_grad():
        home = task.tests["home"].subset([0, 1, 2])
        paths = [Path(home.source.root, path) for path in home.paths]  # type: ignore[attr-defined]
        spec = classifier.backbone.image_spec
        pixels = torch.stack([torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) / 255 for path in paths])
        features = classifier.backbone.image((pixels - spec.mean[0]) / spec.std[0])  # (3, D)
    weight = 1000 * torch.linalg.pinv(features).T  # (3, D): 1000 for its own image, 0 for the others'
    head = Head(weight, bias=torch.zeros(3), scale=torch.ones(()), convention="scaled")
    sure = Classifier(classifier.backbone, head, classes=CLASSES)
    entry = measure(split_logits(sure, home, data(), Alone()), home, task, temperature=1.0, bins=15)
    assert (entry["accuracy"], entry["reliability"]["count"][-1]) == (1.0, 3)
    assert entry["ece"] == pytest.approx(0, abs=1e-6)


if __name__ == "__main__":
    torch.set_num_threads(1)
    evaluate_as_one_of_two(Path(sys.argv[1]), int(sys.argv[2]))
