"""Fisher information against numpy and differences of logits."""

from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed

from surefoot.backbones.base import load_backbone
from surefoot.blending.fisher import fisher_information
from surefoot.classifier import Classifier
from surefoot.data.batch import DataConfig, evaluation_batches
from surefoot.data.draws import label_draws, permutation
from surefoot.data.prompts import Prompts
from surefoot.data.task import Task
from surefoot.run import load_task

DATA = DataConfig(workers=0)
IMAGES = 7  # an odd number, so that two processes have unequal shares


@dataclass(frozen=True)
class One:
    """One process of several on the CPU."""

    global_rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@pytest.fixture(scope="module")
def task(squares: Path) -> Task:
    return load_task("folder", options={"root": str(squares)})


@pytest.fixture(scope="module")
def classifier(task: Task) -> Classifier:
    return Classifier.zero_shot(load_backbone("tiny"), Prompts.from_task(task)).eval()


@pytest.fixture(scope="module")
def found(classifier: Classifier, task: Task) -> dict[str, Tensor]:
    return fisher_information(classifier, task.train, DATA, One(), images=IMAGES, seed=3)


@pytest.fixture(scope="module")
def drawn(classifier: Classifier, task: Task) -> tuple[Tensor, list[int]]:
    """The images that seed 3 draws, and the labels drawn for them from the probabilities, in another way."""
    index = permutation(len(task.train), seed=3, epoch=0)[:IMAGES]
    spec = classifier.backbone.image_spec
    images = next(evaluation_batches(task.train.subset(index), spec, DATA)).images
    with torch.no_grad():
        probabilities = classifier(images).double().softmax(-1).numpy()
    labels = [
        next(c for c in range(3) if share < p[: c + 1].sum())
        for p, share in zip(probabilities, label_draws(3, index), strict=True)
    ]
    return images, labels


def test_the_head_s_information_is_that_of_a_softmax_over_unit_features(
    classifier: Classifier, found: dict[str, Tensor], drawn: tuple[Tensor, list[int]]
) -> None:
    images, labels = drawn
    with torch.no_grad():
        features = classifier.backbone.image(images).double().numpy()
        logits = classifier(images).double().numpy()
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    residual = np.eye(3)[labels] - p  # the gradient of log p[label] to the logits
    gradients = residual[:, :, None] * features[:, None, :]  # (N, C, D)
    np.testing.assert_allclose(found["head.weight"].numpy(), (gradients**2).mean(0), rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(found["head.bias"].numpy(), (residual**2).mean(0), rtol=1e-4)
    assert len(set(labels)) > 1


@pytest.mark.parametrize("name", ["projection.weight", "norm.weight", "patches.bias"])
def test_a_tower_s_information_is_the_mean_square_of_differences(
    classifier: Classifier, found: dict[str, Tensor], drawn: tuple[Tensor, list[int]], name: str
) -> None:
    images, labels = drawn
    weight = classifier.backbone.image.get_parameter(name).data.view(-1)
    place, step = int(found[f"backbone.image.{name}"].argmax()), 1e-3
    values = []
    for change in (step, -step):
        weight[place] += change
        with torch.no_grad():
            values.append(classifier(images).double().log_softmax(-1)[range(IMAGES), labels])
        weight[place] -= change
    slopes = (values[0] - values[1]) / (2 * step)
    assert found[f"backbone.image.{name}"].view(-1)[place].item() == pytest.approx(
        slopes.square().mean().item(), rel=2e-2
    )


def test_it_covers_the_image_tower_and_the_head_and_leaves_the_classifier_alone(
    classifier: Classifier, found: dict[str, Tensor]
) -> None:
    names = {f"backbone.image.{name}" for name, _ in classifier.backbone.image.named_parameters()}
    assert found.keys() == names | {"head.weight", "head.bias"}
    assert all(weight.grad is None for weight in classifier.parameters())


def test_images_are_taken_at_most_once(classifier: Classifier, task: Task) -> None:
    all_of_them, more = (
        fisher_information(classifier, task.train, DATA, One(), images=images, seed=0) for images in (36, 1000)
    )
    assert all(torch.equal(all_of_them[name], more[name]) for name in more)


def test_two_processes_measure_what_one_does(squares: Path, found: dict[str, Tensor], tmp_path: Path) -> None:
    forked = get_context("fork")  # which need not import everything again
    processes = [forked.Process(target=measure_as_one_of_two, args=(squares, tmp_path, rank)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
    assert [process.exitcode for process in processes] == [0, 0]
    for rank in range(2):
        measured = load_file(tmp_path / f"{rank}.safetensors")
        assert measured.keys() == found.keys()
        for name, tensor in found.items():
            torch.testing.assert_close(measured[name], tensor)


def measure_as_one_of_two(root: Path, folder: Path, rank: int) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    task = load_task("folder", options={"root": str(root)})
    classifier = Classifier.zero_shot(load_backbone("tiny"), Prompts.from_task(task))
    measured = fisher_information(classifier, task.train, DATA, One(rank, 2), images=IMAGES, seed=3)
    save_file(measured, folder / f"{rank}.safetensors")
    distributed.destroy_process_group()
