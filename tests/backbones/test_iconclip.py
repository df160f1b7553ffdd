import torch

from surefoot.backbones.base import load_backbone
from surefoot.backbones.iconclip import IconCLIP
from surefoot.classifier import Classifier
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
    assert set(IconCLIP.recommended) == {"engine.lr", "engine.batch_size", "engine.epochs"}
