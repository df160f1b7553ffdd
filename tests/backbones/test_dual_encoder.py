"""Two towers of transformers that are no CLIPModel: VisionTextDualEncoderModel, a pair of CLIP's, MetaCLIP 2."""

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModel,
    BertConfig,
    BertTokenizer,
    CLIPConfig,
    CLIPModel,
    CLIPProcessor,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
    MetaClip2Config,
    MetaClip2Model,
    RobertaConfig,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
    VisionTextDualEncoderProcessor,
    ViTConfig,
)
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from surefoot.backbones.base import load_backbone

MakeClip = Callable[..., Any]
TEXTS = ["a photo", "cat", "a dog on it", "cat"]
WIDTH = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *string.ascii_lowercase,
    *(f"##{c}" for c in string.ascii_lowercase),
]


def vit() -> ViTConfig:
    return ViTConfig(image_size=16, patch_size=8, **WIDTH)


def bert(kind: type = BertConfig) -> BertConfig:
    more = {"max_position_embeddings": 42, "pad_token_id": 0, "hidden_dropout_prob": 0.0}
    return kind(vocab_size=len(PIECES), attention_probs_dropout_prob=0.0, **more, **WIDTH)


def shaken(model: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for parameter in model.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    return model.eval()


def save_dual(folder: Path, vision: Any, text: Any) -> VisionTextDualEncoderModel:
    config = VisionTextDualEncoderConfig.from_vision_text_configs(vision, text, projection_dim=24)
    model = shaken(VisionTextDualEncoderModel(config))
    model.save_pretrained(folder)
    tokenizer = BertTokenizer(vocab={piece: i for i, piece in enumerate(PIECES)}, model_max_length=512)
    images = ViTImageProcessorPil(size={"height": 16, "width": 16})
    VisionTextDualEncoderProcessor(images, tokenizer).save_pretrained(folder)
    return model


@pytest.mark.parametrize(("kind", "context"), [(BertConfig, 42), (RobertaConfig, 41)])
def test_features_of_vit_and_a_language_model_are_those_of_transformers(
    kind: type, context: int, tmp_path: Path
) -> None:
    save_dual(tmp_path, vit(), bert(kind))
    model = VisionTextDualEncoderModel.from_pretrained(tmp_path)
    processor = VisionTextDualEncoderProcessor.from_pretrained(tmp_path)
    backbone = load_backbone(str(tmp_path))
    images, whole = torch.randn(5, 3, 16, 16), {"padding": "max_length", "max_length": 20, "return_tensors": "pt"}
    tokens, long = processor.tokenizer(TEXTS, padding=True, return_tensors="pt"), processor.tokenizer(TEXTS, **whole)
    with torch.no_grad():
        assert torch.equal(backbone.image.raw(images), model.get_image_features(images).pooler_output)
        assert torch.equal(backbone.tokenize(TEXTS), tokens.input_ids)
        found, expected = backbone.text.raw(tokens.input_ids), model.get_text_features(**tokens).pooler_output
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(found, model.get_text_features(**long).pooler_output, atol=1e-5, rtol=1e-5)
    assert backbone.tokenizer.context == context
    assert not backbone.text.causal  # and yet rows are as long as the longest text, since filling is masked
    assert torch.equal(model.logit_scale, backbone.log_scale)
    assert (backbone.image_spec.fit, backbone.image_spec.filter) == ("squash", "bilinear")


def test_a_saved_dual_encoder_opens_unchanged_in_transformers(tmp_path: Path) -> None:
    save_dual(tmp_path / "first", vit(), bert())
    backbone = load_backbone(str(tmp_path / "first"))
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.01)
    (tmp_path / "second").mkdir()
    backbone.save(tmp_path / "second")
    model, found = AutoModel.from_pretrained(tmp_path / "second", output_loading_info=True)
    assert isinstance(model, VisionTextDualEncoderModel)
    assert not any(found.values())
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(model.get_image_features(images).pooler_output, backbone.image.raw(images))
    again = load_backbone(str(tmp_path / "second"))
    for name, value in again.state_dict().items():
        assert torch.equal(value, backbone.state_dict()[name]), name


def test_a_dual_encoder_of_clips_towers_reads_as_clip_does(
    clip_folder: Path, make_clip: MakeClip, tmp_path: Path
) -> None:
    clip = CLIPModel.from_pretrained(clip_folder)
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        clip.config.vision_config, clip.config.text_config, projection_dim=24
    )
    model = VisionTextDualEncoderModel(config)
    model.load_state_dict(clip.state_dict())
    model.save_pretrained(tmp_path)
    processor = CLIPProcessor.from_pretrained(clip_folder)
    VisionTextDualEncoderProcessor(processor.image_processor, processor.tokenizer).save_pretrained(tmp_path)
    found, expected = load_backbone(str(tmp_path)), load_backbone(str(clip_folder))
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(found.image(images), expected.image(images))
    assert torch.equal(found.encode_text(TEXTS), expected.encode_text(TEXTS))
    assert found.image.parts
    assert found.text.causal


def test_a_tower_without_a_pooled_output_is_refused(tmp_path: Path) -> None:
    from transformers import DistilBertConfig

    text = DistilBertConfig(vocab_size=len(PIECES), dim=32, hidden_dim=64, n_layers=1, n_heads=2)
    save_dual(tmp_path, vit(), text)
    with pytest.raises(ValueError, match=r"the text tower has no pooled output \(pooler_output\)"):
        load_backbone(str(tmp_path))


def test_other_towers_cannot_change_their_size(tmp_path: Path) -> None:
    save_dual(tmp_path, vit(), bert())
    with pytest.raises(ValueError, match=r"image_size=32: the image tower of .* is a 'vit'; only those of CLIP"):
        load_backbone(str(tmp_path), options={"image_size": 32})


# --- a pair of towers with projections ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of an image tower and a text tower of one CLIP model."""
    image, text = tmp_path_factory.mktemp("image"), tmp_path_factory.mktemp("text")
    processor = CLIPProcessor.from_pretrained(clip_folder)
    clip = CLIPModel.from_pretrained(clip_folder)
    for kind, folder, config in (
        (CLIPVisionModelWithProjection, image, clip.config.vision_config),
        (CLIPTextModelWithProjection, text, clip.config.text_config),
    ):
        config.projection_dim = 24
        tower = kind(config)
        tower.load_state_dict({name: value for name, value in clip.state_dict().items() if name in tower.state_dict()})
        tower.save_pretrained(folder)
    processor.image_processor.save_pretrained(image)
    processor.tokenizer.save_pretrained(text)
    return image, text


def test_a_pair_of_towers_has_the_features_of_their_model(clip_folder: Path, pair: tuple[Path, Path]) -> None:
    found = load_backbone(str(pair[0]), options={"text_path": str(pair[1])})
    expected, images = load_backbone(str(clip_folder)), torch.randn(2, 3, 32, 32)
    assert torch.equal(found.image(images), expected.image(images))
    assert torch.equal(found.encode_text(TEXTS), expected.encode_text(TEXTS))
    assert found.scale.item() == pytest.approx(100, rel=1e-6)


def test_a_pair_is_saved_as_one_clip_model(clip_folder: Path, pair: tuple[Path, Path], tmp_path: Path) -> None:
    backbone = load_backbone(str(pair[0]), options={"text_path": str(pair[1])})
    backbone.save(tmp_path)
    model, found = CLIPModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(found.values())
    clip, images = CLIPModel.from_pretrained(clip_folder), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(
            model.get_image_features(images).pooler_output, clip.get_image_features(images).pooler_output
        )
    again = load_backbone(str(tmp_path))
    assert torch.equal(again.encode_text(TEXTS), backbone.encode_text(TEXTS))


def test_a_pair_that_does_not_fit_is_refused(clip_folder: Path, pair: tuple[Path, Path], tmp_path: Path) -> None:
    image, text = map(str, pair)
    with pytest.raises(ValueError, match=r"is an image tower alone: set backbone\.text_path"):
        load_backbone(image)
    with pytest.raises(ValueError, match=r"text_path=.*is a model of type 'clip'; give a CLIPTextModelWithProjection"):
        load_backbone(image, options={"text_path": str(clip_folder)})
    with pytest.raises(ValueError, match=r"text_path=.*is of type 'clip' and has a text tower; leave it out"):
        load_backbone(str(clip_folder), options={"text_path": text})
    model = CLIPTextModelWithProjection.from_pretrained(text)
    model.config.projection_dim = 8
    model.text_projection = torch.nn.Linear(32, 8, bias=False)
    model.save_pretrained(tmp_path)
    CLIPProcessor.from_pretrained(clip_folder).tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"features have 8 dimensions, those of the image tower .* have 24"):
        load_backbone(image, options={"text_path": str(tmp_path)})


# --- MetaCLIP 2 -----------------------------------------------------------------------------------------------------


def test_metaclip_2_has_the_features_of_transformers(clip_folder: Path, tmp_path: Path) -> None:
    clip = CLIPConfig.from_pretrained(clip_folder)
    text, vision = clip.text_config.to_dict(), clip.vision_config.to_dict()
    for part in (text, vision):
        del part["model_type"]
    model = shaken(MetaClip2Model(MetaClip2Config(text_config=text, vision_config=vision, projection_dim=24)))
    model.save_pretrained(tmp_path)
    CLIPProcessor.from_pretrained(clip_folder).save_pretrained(tmp_path)
    backbone, images = load_backbone(str(tmp_path)), torch.randn(2, 3, 32, 32)
    model = MetaClip2Model.from_pretrained(tmp_path)
    tokens = backbone.tokenize(TEXTS)
    with torch.no_grad():
        assert torch.equal(backbone.image.raw(images), model.get_image_features(images).pooler_output)
        assert torch.equal(backbone.text.raw(tokens), model.get_text_features(tokens).pooler_output)
    (tmp_path / "saved").mkdir()
    backbone.save(tmp_path / "saved")
    assert isinstance(AutoModel.from_pretrained(tmp_path / "saved"), MetaClip2Model)
