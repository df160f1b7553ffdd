"""backbone.image_size: other resolutions, with interpolated position embeddings."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoProcessor

from surefoot.backbones.base import load_backbone
from surefoot.data.images import ImageSpec


@pytest.fixture(params=["clip", "siglip"])
def folder(request: pytest.FixtureRequest, clip_folder: Path, siglip_folder: Path) -> Path:
    return clip_folder if request.param == "clip" else siglip_folder


@pytest.mark.parametrize("size", [24, 64])
def test_features_are_those_that_transformers_interpolates(folder: Path, size: int) -> None:
    model, images = AutoModel.from_pretrained(folder), torch.randn(3, 3, size, size)
    backbone = load_backbone(str(folder), options={"image_size": size})
    with torch.no_grad():
        expected = model.get_image_features(images, interpolate_pos_encoding=True).pooler_output
        torch.testing.assert_close(backbone.image.raw(images), expected, atol=1e-6, rtol=1e-6)
    assert backbone.image_spec.size == size
    assert all(parameter.requires_grad for parameter in backbone.parameters())


def test_the_models_own_size_changes_nothing(folder: Path) -> None:
    plain = load_backbone(str(folder))
    same = load_backbone(str(folder), options={"image_size": plain.image_spec.size})
    assert all(torch.equal(value, same.state_dict()[name]) for name, value in plain.state_dict().items())
    assert same.image_spec == plain.image_spec


def test_a_saved_backbone_has_the_new_size_in_transformers_too(folder: Path, tmp_path: Path) -> None:
    backbone = load_backbone(str(folder), options={"image_size": 48})
    backbone.save(tmp_path)
    model, images = AutoModel.from_pretrained(tmp_path), torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        assert torch.equal(model.get_image_features(images).pooler_output, backbone.image.raw(images))
    again = load_backbone(str(tmp_path))
    assert again.image_spec == backbone.image_spec
    made = AutoProcessor.from_pretrained(tmp_path).image_processor(torch.zeros(3, 70, 90).byte(), return_tensors="pt")
    assert made.pixel_values.shape == (1, 3, 48, 48)


def test_the_short_side_grows_with_the_crop(clip_folder: Path, tmp_path: Path) -> None:
    backbone = load_backbone(str(clip_folder))
    spec = backbone.image_spec
    backbone.image_spec = ImageSpec(size=32, mean=spec.mean, std=spec.std, resize=36)
    backbone.read_images_of(64)
    assert (backbone.image_spec.size, backbone.image_spec.resize) == (64, 72)
    backbone.save(tmp_path)
    assert load_backbone(str(tmp_path)).image_spec == backbone.image_spec


def test_a_size_that_is_no_multiple_of_the_patches_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"image_size=50: .* patches of 8 x 8 pixels; give a .* such as 48"):
        load_backbone(str(folder), options={"image_size": 50})
