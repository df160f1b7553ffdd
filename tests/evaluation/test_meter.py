from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from surefoot.backbones.base import Backbone, load_backbone
from surefoot.config import resolve
from surefoot.data.batch import DataConfig, evaluation_batches
from surefoot.data.prompts import Prompts
from surefoot.data.task import Task
from surefoot.evaluation.meter import HELD_OUT, ForgettingConfig, Meter, Sample, spurious_captions, text_rows
from surefoot.run import load_task

DATA = DataConfig(workers=0, eval_batch_size=5)
CONFIG = ForgettingConfig(images=8, random_texts=6, captions=5)


@pytest.fixture
def task(squares: Path) -> Task:
    return load_task(str(squares))


@pytest.fixture
def backbone() -> Backbone:
    return load_backbone("tiny")


def moved(backbone: Backbone, part: str) -> Backbone:
    generator = torch.Generator().manual_seed(0)
    for name, parameter in backbone.named_parameters():
        if name.startswith(part):
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return backbone


def meter(backbone: Backbone, task: Task) -> Meter:
    return Meter(backbone, task, others={"other": task}, config=CONFIG, data=DATA)


def test_a_sample_gives_the_features_of_evaluation(backbone: Backbone, task: Task) -> None:
    count = len(task.validation)
    sample = Sample.read(task.validation, backbone.image_spec, DATA, count=1000)
    with torch.no_grad():
        wanted = [
            backbone.eval().image(b.images) for b in evaluation_batches(task.validation, backbone.image_spec, DATA)
        ]
    assert torch.equal(sample.features(backbone), torch.cat(wanted))
    assert sample.pixels.shape[0] == count
    assert sample.pixels.dtype == torch.uint8
    assert len(Sample.read(task.validation, backbone.image_spec, DATA, count=4).labels) == 4


def test_text_rows_are_the_zero_shot_weights(backbone: Backbone, task: Task) -> None:
    sentences = Prompts.from_task(task).class_sentences()
    assert torch.allclose(text_rows(backbone, sentences), backbone.zero_shot_weights(sentences), atol=1e-6)


def test_nothing_has_moved_at_the_start(backbone: Backbone, task: Task) -> None:
    made = meter(backbone, task)
    found = made.read(backbone)
    assert found.movement == pytest.approx({**dict.fromkeys(found.movement, 0.0), "linear_cka": 1.0}, abs=1e-12)
    assert found.accuracy == made.start.accuracy
    assert set(found.accuracy) == {HELD_OUT, "other"}
    assert found.accuracy[HELD_OUT] == found.accuracy["other"]  # the same images and classes here


@pytest.mark.parametrize(("part", "still"), [("image.", ()), ("text.", ("context_drift", "random_text_gap"))])
def test_what_moved_shows(backbone: Backbone, task: Task, part: str, still: tuple[str, ...]) -> None:
    made = meter(backbone, task)
    found = made.read(moved(backbone, part)).movement
    assert found["spurious_drift"] > 0
    assert (found["context_drift"] == 0) == ("context_drift" in still)
    assert (found["feature_distortion"] == 0) == bool(still)


def test_accuracy_is_by_the_text_tower_as_it_is_now(backbone: Backbone, task: Task) -> None:
    made = meter(backbone, task)
    found = made.read(moved(backbone, "text."))
    rows = text_rows(backbone, made.sights["other"].sentences)
    right = (made.sample.features(backbone) @ rows.T).argmax(-1) == made.sample.labels
    assert found.accuracy["other"] == pytest.approx(float(right.double().mean()))


def test_a_reading_leaves_random_generators_and_the_mode_alone(backbone: Backbone, task: Task) -> None:
    made = meter(backbone, task)
    backbone.train()
    before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1]
    made.read(backbone)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()
    assert all(part.training for part in backbone.modules())


def test_spurious_captions_are_fixed_and_hold_class_and_phrase(task: Task) -> None:
    prompts = Prompts.from_task(task)
    found = spurious_captions(prompts, CONFIG)
    assert found == spurious_captions(prompts, CONFIG)
    assert len(found) == 5
    assert all(name in caption for name, caption in zip(("blue", "green", "red", "blue", "green"), found, strict=True))
    assert not any("{" in caption for caption in found)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"forgetting.budget": 2}, "forgetting.budget=2.0 needs the meter; give forgetting.every"),
        ({"forgetting.every": 0.5, "forgetting.unit": "steps"}, "give whole steps"),
        ({"forgetting.images": 1}, "give 2 or more"),
        ({"forgetting.pools": ["backgrond"]}, "forgetting.pools has 'backgrond'.*did you mean background"),
        ({"forgetting.evry": 1}, "did you mean forgetting.every"),
        ({"forgetting.budget_on": "test"}, "forgetting.budget_on=test"),
    ],
)
def test_wrong_settings_are_errors(settings: Mapping[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        resolve(settings)


@pytest.mark.parametrize(
    ("every", "unit", "steps"),
    [(0, "steps", 0), (3, "steps", 3), (1, "epochs", 7), (0.5, "epochs", 4), (2, "epochs", 14)],
)
def test_steps_between_readings(every: float, unit: Any, steps: int) -> None:
    assert ForgettingConfig(every=every, unit=unit).steps_between(7) == steps
