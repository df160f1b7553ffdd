from importlib.resources import files
from pathlib import Path

import pytest
import torch

from surefoot.backbones.base import load_backbone
from surefoot.backbones.iconclip import IconCLIP

FOLDER = Path(str(files("surefoot") / "assets" / "iconclip"))


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the embedded checkpoint is not in this tree")
def test_the_embedded_model_opens_and_knows_words() -> None:
    backbone = load_backbone("iconclip")
    assert backbone.name == "iconclip"
    assert backbone.image_spec.size == 64
    apple, pear, lorry, truck = backbone.embed_texts(["an apple", "a pear", "a lorry", "a truck"])
    assert lorry @ truck > lorry @ apple
    assert apple @ pear > apple @ truck
    assert torch.isfinite(backbone.image(torch.zeros(1, 3, 64, 64))).all()


def test_the_recommended_settings_are_those_of_the_engine() -> None:
    assert set(IconCLIP.recommended) == {"engine.lr", "engine.batch_size", "engine.epochs"}
