"""SigLIP: sigmoid scale and bias, texts of a fixed length, images pressed into a square."""

import importlib.util
import json
import shutil
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoModel, AutoProcessor, SiglipModel, SiglipProcessor

from surefoot.backbones.base import Backbone, load_backbone
from surefoot.classifier import Classifier, Head
from surefoot.data.images import Opened, evaluation_view, normalise, to_tensor
from surefoot.data.prompts import Prompts

MakeSiglip = Callable[..., Any]
TEXTS = ["a photo", "cat", "a dog on it", "cat"]


@pytest.fixture
def folder(siglip_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(siglip_folder, tmp_path / "siglip"))


@pytest.fixture
def backbone(siglip_folder: Path) -> Backbone:
    return load_backbone(str(siglip_folder))


def picture(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def pixels_of(images: list[Image.Image], backbone: Backbone) -> torch.Tensor:
    views = [to_tensor(evaluation_view(Opened(image), backbone.image_spec)) for image in images]
    return normalise(torch.stack(views), backbone.image_spec)


# --- the same numbers as transformers -------------------------------------------------------------------------------


def test_features_are_bit_for_bit_those_of_transformers(siglip_folder: Path, backbone: Backbone) -> None:
    model, processor = SiglipModel.from_pretrained(siglip_folder), SiglipProcessor.from_pretrained(siglip_folder)
    images = torch.randn(5, 3, 16, 16)
    tokens = processor.tokenizer(TEXTS, padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        assert torch.equal(backbone.image.raw(images), model.get_image_features(images).pooler_output)
        assert torch.equal(backbone.tokenize(TEXTS), tokens)
        assert torch.equal(backbone.text.raw(tokens), model.get_text_features(tokens).pooler_output)


def test_texts_are_filled_up_to_the_whole_context_and_lower_cased(backbone: Backbone) -> None:
    tokens = backbone.tokenize(["A Cat"])
    assert tokens.shape == (1, 64)
    assert torch.equal(tokens, backbone.tokenize(["a cat"]))
    assert tokens[0, 5] == backbone.tokenizer.end == 1
    assert tokens[0, 6:].unique().tolist() == [backbone.tokenizer.pad] == [0]
    short = backbone.text.raw(tokens[:, :6])
    assert not torch.allclose(short, backbone.text.raw(tokens), atol=1e-2)  # so nothing may be cut off


def test_sigmoid_scores_are_those_of_transformers(siglip_folder: Path, backbone: Backbone) -> None:
    model, processor = SiglipModel.from_pretrained(siglip_folder), SiglipProcessor.from_pretrained(siglip_folder)
    images, classes = [picture(16, 16), picture(40, 16), picture(24, 56)], ("cat", "dog", "a bird")
    inputs = processor(text=list(classes), images=images, padding="max_length", return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs).logits_per_image  # (3, 3)
        classifier = Classifier.zero_shot(backbone, Prompts(classes, ("{}",), ("a {}",))).eval()
        pixels = pixels_of(images, backbone)
        assert (pixels - inputs.pixel_values).abs().max() < 0.01  # of values from -1 to 1: a grey level at most
        given = inputs.pixel_values
        torch.testing.assert_close(classifier(given) + backbone.bias, expected)
        torch.testing.assert_close(classifier.scores(given), expected.sigmoid())
        torch.testing.assert_close(classifier.probabilities(given), expected.softmax(-1))
    assert (classifier.scores(given).sum(-1) - 1).abs().min() > 0.01


def test_scores_need_a_sigmoid(siglip_folder: Path, backbone: Backbone) -> None:
    tiny = load_backbone("tiny")
    classifier = Classifier.zero_shot(tiny, Prompts(("cat", "dog"), ("a {}",), ("a {}",)))
    with pytest.raises(ValueError, match=r"'tiny' was trained with a softmax.*use probabilities"):
        classifier.scores(torch.randn(1, 3, 16, 16))
    linear = Classifier(backbone, Head.random(48, 2, seed=0), classes=("cat", "dog"))
    with pytest.raises(ValueError, match="head is 'linear', whose logits are no similarities"):
        linear.scores(torch.randn(1, 3, 16, 16))


def test_the_scale_and_the_bias_are_the_models_own(backbone: Backbone) -> None:
    assert backbone.scale.shape == ()
    assert backbone.scale.item() == pytest.approx(np.exp(2.5))
    assert backbone.bias.item() == -3
    assert "bias" not in dict(backbone.named_parameters())  # a softmax gives it no gradient: DDP would stop


def test_images_are_pressed_into_a_square_with_the_filter_of_the_training(backbone: Backbone) -> None:
    spec, image = backbone.image_spec, picture(48, 24)
    assert (spec.size, spec.fit, spec.filter) == (16, "squash", "bilinear")
    assert evaluation_view(Opened(image), spec).tobytes() == image.resize((16, 16), Image.Resampling.BILINEAR).tobytes()


def test_a_long_text_keeps_its_end_of_text(backbone: Backbone) -> None:
    with pytest.warns(UserWarning, match="has 101 tokens, but the text tower of .* reads 64"):
        tokens = backbone.tokenize(["a" * 100])
    assert tokens.shape == (1, 64)
    assert tokens[0].tolist().index(backbone.tokenizer.end) == 63


def test_random_texts_have_the_length_of_the_training(backbone: Backbone) -> None:
    seen: list[torch.Tensor] = []
    backbone.text.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert backbone.embed_random_texts(20, length=8, seed=0, moment=0).shape == (20, 48)
    (tokens,) = seen
    assert tokens.shape == (20, 64)
    assert set(tokens[:, 8].tolist()) == {1}
    assert tokens[:, :8].min() > 4


# --- saving ---------------------------------------------------------------------------------------------------------


def test_a_saved_backbone_opens_unchanged_in_transformers(backbone: Backbone, tmp_path: Path) -> None:
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.01)
    backbone.save(tmp_path)
    model, found = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert isinstance(model, SiglipModel)
    assert not any(found.values())
    tokens = AutoProcessor.from_pretrained(tmp_path).tokenizer(TEXTS, padding="max_length", return_tensors="pt")
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(model.get_image_features(images).pooler_output, backbone.image.raw(images))
        assert torch.equal(model.get_text_features(**tokens).pooler_output, backbone.text.raw(tokens.input_ids))
    assert torch.equal(model.logit_scale, backbone.log_scale)
    assert torch.equal(model.logit_bias, backbone.bias)
    again = load_backbone(str(tmp_path))
    assert again.image_spec == backbone.image_spec
    for name, value in again.state_dict().items():
        assert torch.equal(value, backbone.state_dict()[name]), name


def test_every_weight_that_can_train_stands_in_the_file_under_the_name_that_is_told(
    backbone: Backbone, tmp_path: Path
) -> None:
    backbone.save(tmp_path)
    state = backbone.state_dict()
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert set(file.keys()) == {*backbone.file_names.values(), "logit_bias"}
        assert all(torch.equal(file.get_tensor(there), state[name]) for name, there in backbone.file_names.items())
    assert state.keys() - backbone.file_names.keys() == {"bias"}


def test_a_classifier_keeps_its_scores(backbone: Backbone, tmp_path: Path) -> None:
    classifier = Classifier.zero_shot(backbone, Prompts(("cat", "dog"), ("a {}", "the {}"), ("a {}",))).eval()
    classifier.save_pretrained(tmp_path / "classifier")
    again, images = Classifier.from_pretrained(tmp_path / "classifier"), torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(again.scores(images), classifier.scores(images))


# --- what cannot be opened ------------------------------------------------------------------------------------------


def test_a_model_without_a_pooling_head_is_refused(make_siglip: MakeSiglip, tmp_path: Path) -> None:
    make_siglip(tmp_path, head=False)
    with pytest.raises(ValueError, match=r"has no pooling head \(vision_use_head is false\)"):
        load_backbone(str(tmp_path))


def test_a_tokenizer_that_does_not_close_its_sentences_is_refused(make_siglip: MakeSiglip, tmp_path: Path) -> None:
    make_siglip(tmp_path, adds_end=False)
    with pytest.raises(ValueError, match=r"does not close a sentence .* set add_eos_token"):
        load_backbone(str(tmp_path))


def old_tokenizer(folder: Path, *, canonical: bool) -> None:
    """A SentencePiece tokenizer of SigLIP 1, without the library for it, as tokenizer.json."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0), ("▁", -2.0), *((c, -3.0) for c in string.ascii_letters)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=2))
    steps = [normalizers.Lowercase(), normalizers.Replace(",", ""), normalizers.Replace("!", "")] if canonical else []
    backend.normalizer = normalizers.Sequence([*steps, normalizers.Strip()])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    backend.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "SiglipTokenizer", "eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 64}))


def test_the_tokenizer_of_siglip_1_opens_without_sentencepiece(folder: Path, tmp_path: Path) -> None:
    old_tokenizer(folder, canonical=True)
    backbone = load_backbone(str(folder))
    assert (backbone.tokenizer.end, backbone.tokenizer.pad) == (1, 1)
    tokens = backbone.tokenize(["A, cat!"])
    assert torch.equal(tokens, backbone.tokenize(["a cat"]))
    assert tokens.shape == (1, 64)
    assert tokens[0, 6:].unique().tolist() == [1]  # filled up with the end of text
    (tmp_path / "saved").mkdir()
    backbone.save(tmp_path / "saved")
    again = load_backbone(str(tmp_path / "saved"))
    assert torch.equal(again.tokenize(TEXTS), backbone.tokenize(TEXTS))


def test_a_tokenizer_file_that_keeps_punctuation_is_refused(folder: Path) -> None:
    old_tokenizer(folder, canonical=False)
    with pytest.raises(ValueError, match=r"pip install sentencepiece protobuf.*keeps capitals or punctuation"):
        load_backbone(str(folder))


@pytest.mark.skipif(importlib.util.find_spec("sentencepiece") is not None, reason="sentencepiece is installed")
def test_a_tokenizer_that_needs_sentencepiece_says_so(folder: Path) -> None:
    old_tokenizer(folder, canonical=True)
    (folder / "tokenizer.json").rename(folder / "spiece.model")
    with pytest.raises(ValueError, match="pip install sentencepiece protobuf"):
        load_backbone(str(folder))


def test_a_bias_of_another_shape_is_named(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["logit_bias"] = torch.zeros(2)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"logit_bias has shape \(2,\), but its config\.json says \(1,\)"):
        load_backbone(str(folder))


def test_with_sentencepiece_the_tokens_are_those_of_transformers(folder: Path, tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    pytest.importorskip("google.protobuf")
    (tmp_path / "text.txt").write_text("a photo of a cat\na dog on it, too\nan apple!\n" * 20)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"), model_prefix=str(folder / "spiece"), vocab_size=20, model_type="unigram",
        unk_id=2, bos_id=-1, eos_id=1, pad_id=0, add_dummy_prefix=False, minloglevel=2,
    )  # fmt: skip
    (folder / "tokenizer.json").unlink()
    settings = {"tokenizer_class": "SiglipTokenizer", "model_max_length": 64, "model_input_names": ["input_ids"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    backbone, processor = load_backbone(str(folder)), SiglipProcessor.from_pretrained(folder)
    assert not processor.tokenizer.is_fast
    texts = ["A photo, of a cat!", "a dog", ""]
    tokens = processor.tokenizer(texts, padding="max_length", return_tensors="pt").input_ids
    assert torch.equal(backbone.tokenize(texts), tokens)
    assert torch.equal(backbone.tokenize(["a PHOTO of a cat"]), tokens[:1])
    (tmp_path / "saved").mkdir()
    backbone.save(tmp_path / "saved")
    assert torch.equal(load_backbone(str(tmp_path / "saved")).tokenize(texts), tokens)
