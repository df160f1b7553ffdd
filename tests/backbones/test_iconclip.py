import pytest
import torch

from surefoot.backbones.base import load_backbone
from surefoot.backbones.iconclip import IconCLIP
from surefoot.classifier import Classifier
from surefoot.config import resolve
from surefoot.data.batch import DataConfig, evaluation_batches
from surefoot.data.prompts import Prompts
from surefoot.run import load_task


@torch.no_grad()
def test_the_embedded_model_knows_line_icons_without_training() -> None:
    backbone, task = load_backbone("iconclip"), load_task("iconshift")
    assert (backbone.name, backbone.image_spec.size) == ("iconclip", 64)
    classifier = Classifier.zero_shot(backbone, Prompts.from_task(task)).eval()
    right = 0
    for batch in evaluation_batches(task.tests["line"], backbone.image_spec, DataConfig(workers=0)):
        right += int((classifier(batch.images).argmax(1) == batch.labels).sum())
    assert 0.6 < right / len(task.tests["line"]) < 0.8  # 0.707 when it was published


def test_the_recommended_settings_are_those_of_the_engine() -> None:
    shared = {name for name in IconCLIP.recommended if name.startswith("engine.")}
    assert shared == {"engine.lr", "engine.batch_size", "engine.epochs"}


@pytest.mark.parametrize(
    ("method", "rate"),
    [("fine_tune", 3e-4), ("lipsum_ft", 3e-4), ("flyp", 1e-4), ("carot", 1e-4), ("flyp+lipsum_ft", 1e-4)],
)
def test_contrastive_methods_have_a_third_of_the_learning_rate(method: str, rate: float) -> None:
    assert resolve({"method": method}).engine.lr == rate
    assert resolve({"method": method, "engine.lr": 0.5}).engine.lr == 0.5
