"""What `surefoot export --to openclip` writes, opened by open_clip itself; in an environment that has it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from surefoot.backbones.base import load_backbone
from surefoot.classifier import Classifier
from surefoot.data.prompts import Prompts
from surefoot.exporting import Format, export

open_clip = pytest.importorskip("open_clip")

TEXTS = ["a photo of a cat", "an icon of an anchor", "car", "The Moon!"]


@pytest.fixture(params=["iconclip", "small"])
def run(request: pytest.FixtureRequest, make_clip: Callable[..., Any], tmp_path: Path) -> Path:
    name = "iconclip"
    if request.param != "iconclip":
        name = str(tmp_path / "clip")
        make_clip(tmp_path / "clip", context=32)
    classifier = Classifier.zero_shot(load_backbone(name), Prompts(("cat", "anchor"), ("a {}",), ("a {}",)))
    classifier.save_pretrained(tmp_path / "run" / "classifier")
    return tmp_path / "run"


def test_open_clip_computes_the_same_features_of_images_and_texts(run: Path, tmp_path: Path) -> None:
    export(run, Format.openclip, tmp_path / "out")
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'out'}")
    model.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'out'}")
    backbone = Classifier.from_pretrained(run / "classifier").backbone
    size = backbone.image_spec.size
    images = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(model.encode_image(images), backbone.image.raw(images), atol=1e-4)
        assert torch.allclose(
            model.encode_text(tokenizer(TEXTS)), backbone.text.raw(backbone.tokenize(TEXTS)), atol=1e-4
        )
        assert torch.allclose(model.logit_scale.exp(), backbone.scale)


def test_its_transform_prepares_an_image_as_ours_does(run: Path, tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    from surefoot.data import images as pictures

    export(run, Format.openclip, tmp_path / "out")
    _, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'out'}")
    spec = Classifier.from_pretrained(run / "classifier").backbone.image_spec
    noise = np.random.default_rng(0).integers(0, 255, (spec.size, spec.size, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    ours = pictures.normalise(pictures.to_tensor(pictures.evaluation_view(pictures.Opened(image), spec))[None], spec)
    assert torch.allclose(transform(image)[None], ours, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*is left out:UserWarning")  # a text longer than the small context
@torch.no_grad()
def test_the_backbone_openclip_opens_it_again(run: Path, tmp_path: Path) -> None:
    export(run, Format.openclip, tmp_path / "out")
    before = Classifier.from_pretrained(run / "classifier").backbone
    again = load_backbone("openclip", options={"path": str(tmp_path / "out")}).eval()
    images = torch.randn(3, 3, before.image_spec.size, before.image_spec.size)
    assert (again.image(images) - before.image(images)).abs().max() < 1e-4
    assert (again.encode_text(TEXTS) - before.encode_text(TEXTS)).abs().max() < 1e-4
    assert torch.equal(again.scale, before.scale)
    assert again.image_spec == before.image_spec


def test_a_classifier_of_open_clip_is_exported_as_a_head_and_not_to_transformers(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    backbone = load_backbone(str(folders["clip"]))
    classifier = Classifier.zero_shot(backbone, Prompts(("red", "blue"), ("a {}",), ("a {}",)))
    classifier.save_pretrained(tmp_path / "run" / "classifier")
    export(tmp_path / "run", Format.head, tmp_path / "head.safetensors")
    assert (tmp_path / "head.safetensors").is_file()
    with pytest.raises(ValueError, match="is no CLIP model of transformers"):
        export(tmp_path / "run", Format.transformers, tmp_path / "out")
