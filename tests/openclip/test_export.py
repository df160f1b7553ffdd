"""`surefoot export --to openclip`, opened by open_clip itself, and by the backbone openclip again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("open_clip", reason="make test-openclip")

import open_clip

from surefoot.backbones.base import load_backbone
from surefoot.classifier import Classifier
from surefoot.data.prompts import Prompts
from surefoot.exporting import Format, export

TEXTS = ["a red square", "blue", "a green square, 2 of them"]


@pytest.mark.filterwarnings("ignore:.*is left out:UserWarning")  # of the long probe text
@torch.no_grad()
def test_open_clip_computes_the_features_of_the_exported_classifier(
    make_clip: Callable[..., Any], tmp_path: Path
) -> None:
    make_clip(tmp_path / "clip", context=40)
    backbone = load_backbone(str(tmp_path / "clip"))
    classifier = Classifier.zero_shot(backbone, Prompts(("red", "blue"), ("a {}",), ("a {}",)))
    classifier.save_pretrained(tmp_path / "run" / "classifier")
    export(tmp_path / "run", Format.openclip, tmp_path / "out")
    images = torch.randn(3, 3, 32, 32)
    expected = backbone.eval().image(images), backbone.encode_text(TEXTS)
    model = open_clip.create_model(f"local-dir:{tmp_path / 'out'}").eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'out'}")(TEXTS)
    assert (model.encode_image(images, normalize=True) - expected[0]).abs().max() < 1e-4
    assert (model.encode_text(tokens, normalize=True) - expected[1]).abs().max() < 1e-4
    assert torch.equal(model.logit_scale, backbone.log_scale)
    again = load_backbone("openclip", options={"path": str(tmp_path / "out")}).eval()
    assert (again.image(images) - expected[0]).abs().max() < 1e-4
    assert (again.encode_text(TEXTS) - expected[1]).abs().max() < 1e-4
    assert again.image_spec == backbone.image_spec


def test_a_classifier_of_open_clip_is_exported_as_a_head_and_not_to_transformers(
    quick: dict[str, Any], folders: dict[str, Path], tmp_path: Path
) -> None:
    backbone = load_backbone(str(folders["clip"]))
    classifier = Classifier.zero_shot(backbone, Prompts(("red", "blue"), ("a {}",), ("a {}",)))
    classifier.save_pretrained(tmp_path / "run" / "classifier")
    export(tmp_path / "run", Format.head, tmp_path / "head.safetensors")
    assert (tmp_path / "head.safetensors").is_file()
    with pytest.raises(ValueError, match="is no CLIP model of transformers"):
        export(tmp_path / "run", Format.transformers, tmp_path / "out")
