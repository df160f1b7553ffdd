"""`convert`: small checkpoints in the formats of OpenAI, open_clip, WiSE-FT, FLYP and transformers."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPModel, CLIPProcessor

from surefoot.backbones.base import load_backbone
from surefoot.classifier import Classifier
from surefoot.converting import convert
from surefoot.exporting.openclip import renamed

State = dict[str, Tensor]
TEXTS = ["a photo", "cat"]


def under(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


def check(folder: Path, tuned: CLIPModel) -> None:
    """That transformers and Surefoot open the folder, with the weights of the model."""
    model, found = CLIPModel.from_pretrained(folder, output_loading_info=True)
    assert not any(found.values())
    for name, value in model.state_dict().items():
        assert torch.equal(value, tuned.state_dict()[name]), name
    backbone, images = load_backbone(str(folder)), torch.randn(2, 3, 32, 32)
    tokens = CLIPProcessor.from_pretrained(folder).tokenizer(TEXTS, padding=True, return_tensors="pt").input_ids
    with torch.no_grad():
        assert torch.equal(backbone.image.raw(images), tuned.get_image_features(images).pooler_output)
        assert torch.equal(backbone.text.raw(tokens), tuned.get_text_features(tokens).pooler_output)


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "module.model."])
def test_openais_names_become_those_of_transformers(
    prefix: str, openai_state: State, tuned: CLIPModel, clip_folder: Path, tmp_path: Path
) -> None:
    numbers = {"input_resolution": torch.tensor(32), "context_length": torch.tensor(16), "vocab_size": torch.tensor(54)}
    torch.save(under(prefix, {**openai_state, **numbers}), tmp_path / "old.pt")
    made = convert(tmp_path / "old.pt", like=str(clip_folder), output=tmp_path / "new")
    assert made.notes == ()
    assert made.folder == tmp_path / "new"
    check(tmp_path / "new", tuned)


def test_what_was_exported_to_open_clip_comes_back(tuned: CLIPModel, clip_folder: Path, tmp_path: Path) -> None:
    save_file(renamed(tuned.state_dict()), tmp_path / "open_clip_model.safetensors")
    convert(tmp_path / "open_clip_model.safetensors", like=str(clip_folder), output=tmp_path / "new")
    check(tmp_path / "new", tuned)


def test_an_open_clip_training_checkpoint_is_read(
    openai_state: State, tuned: CLIPModel, clip_folder: Path, tmp_path: Path
) -> None:
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3}]}
    state = {"epoch": 3, "name": "run", "state_dict": under("module.", openai_state), "optimizer": optimizer}
    torch.save(state, tmp_path / "epoch_3.pt")
    convert(tmp_path / "epoch_3.pt", like=str(clip_folder), output=tmp_path / "new")
    check(tmp_path / "new", tuned)


def test_open_clips_text_tower_apart_is_read(
    openai_state: State, tuned: CLIPModel, clip_folder: Path, tmp_path: Path
) -> None:
    state = {
        name if name.startswith(("visual.", "logit_scale")) else f"text.{name}": value
        for name, value in openai_state.items()
    }
    save_file({**state, "text.attn_mask": torch.zeros(2, 2)}, tmp_path / "open_clip_model.safetensors")
    convert(tmp_path / "open_clip_model.safetensors", like=str(clip_folder), output=tmp_path / "new")
    check(tmp_path / "new", tuned)


def test_a_pickled_state_dict_of_transformers_is_read(tuned: CLIPModel, clip_folder: Path, tmp_path: Path) -> None:
    torch.save(tuned.state_dict(), tmp_path / "pytorch_model.bin")
    convert(tmp_path / "pytorch_model.bin", like=str(clip_folder), output=tmp_path / "new")
    check(tmp_path / "new", tuned)


def test_half_precision_becomes_float32(
    openai_state: State, tuned: CLIPModel, clip_folder: Path, tmp_path: Path
) -> None:
    torch.save({name: value.half() for name, value in openai_state.items()}, tmp_path / "old.pt")
    convert(tmp_path / "old.pt", like=str(clip_folder), output=tmp_path / "new")
    for name, value in CLIPModel.from_pretrained(tmp_path / "new").state_dict().items():
        assert torch.equal(value, tuned.state_dict()[name].half().float()), name


# --- WiSE-FT's classifiers ------------------------------------------------------------------------------------------


@pytest.fixture
def wise_ft(openai_state: State) -> State:
    """An ImageClassifier: its encoder lost the text transformer, its head stands beside it."""
    kept = {name: value for name, value in openai_state.items() if not name.startswith("transformer.")}
    draw = torch.Generator().manual_seed(0)
    head = {"classification_head.weight": torch.randn(3, 24, generator=draw), "classification_head.bias": torch.ones(3)}
    return {**under("image_encoder.model.", kept), **head}


def test_a_wise_ft_classifier_keeps_its_head(
    wise_ft: State, tuned: CLIPModel, clip_folder: Path, tmp_path: Path
) -> None:
    torch.save(wise_ft, tmp_path / "checkpoint_10.pt")
    classes = ("cat", "dog", "bird")
    made = convert(tmp_path / "checkpoint_10.pt", like=str(clip_folder), output=tmp_path / "new", classes=classes)
    assert made.notes == (
        f"the file has no text tower, as WiSE-FT leaves it out; the folder has that of {clip_folder}",
        "with its head of 3 classes",
    )
    classifier, images = Classifier.from_pretrained(tmp_path / "new"), torch.randn(4, 3, 32, 32)
    assert classifier.classes == classes
    with torch.no_grad():
        features = F.normalize(tuned.get_image_features(images).pooler_output, dim=-1)
        expected = features @ wise_ft["classification_head.weight"].T + 1
        torch.testing.assert_close(classifier(images), expected, atol=1e-5, rtol=1e-5)
    plain = load_backbone(str(clip_folder))
    assert torch.equal(classifier.backbone.encode_text(TEXTS), plain.encode_text(TEXTS))
    assert classifier.provenance == {"converted_from": "checkpoint_10.pt", "like": str(clip_folder)}


def test_without_names_the_head_is_left_out_and_said_so(wise_ft: State, clip_folder: Path, tmp_path: Path) -> None:
    torch.save(under("module.", wise_ft), tmp_path / "old.pt")
    made = convert(tmp_path / "old.pt", like=str(clip_folder), output=tmp_path / "new")
    assert made.notes[-1] == "its head of 3 classes was left out; name them with --classes to keep it"
    assert not (tmp_path / "new" / "head.safetensors").exists()
    load_backbone(str(tmp_path / "new"))


def test_names_that_do_not_fit_the_head_are_refused(
    wise_ft: State, openai_state: State, clip_folder: Path, tmp_path: Path
) -> None:
    torch.save(wise_ft, tmp_path / "old.pt")
    torch.save(openai_state, tmp_path / "plain.pt")
    with pytest.raises(ValueError, match="its head has 3 classes, --classes names 2"):
        convert(tmp_path / "old.pt", like=str(clip_folder), output=tmp_path / "new", classes=("cat", "dog"))
    with pytest.raises(ValueError, match="it has no head"):
        convert(tmp_path / "plain.pt", like=str(clip_folder), output=tmp_path / "new", classes=("cat", "dog"))
    assert not (tmp_path / "new").exists()


# --- what does not fit ----------------------------------------------------------------------------------------------


def test_a_tensor_of_another_shape_is_named(openai_state: State, clip_folder: Path, tmp_path: Path) -> None:
    openai_state["visual.proj"] = torch.zeros(48, 32)
    torch.save(openai_state, tmp_path / "old.pt")
    with pytest.raises(ValueError, match=r"visual_projection\.weight has shape \(32, 48\), but .* has \(24, 48\)"):
        convert(tmp_path / "old.pt", like=str(clip_folder), output=tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"visual.ln_post.bias": None}, r"it lacks vision_model\.post_layernorm\.bias"),
        (
            {"visual.transformer.resblocks.2.ln_1.bias": torch.zeros(48)},
            r"it has vision_model\.encoder\.layers\.2\.layer_norm1\.bias",
        ),
        ({"logit_bias": torch.zeros(())}, "such as logit_bias; it is a SigLIP"),
    ],
)
def test_a_tensor_too_many_or_too_few_is_named(
    change: dict[str, Any], message: str, openai_state: State, clip_folder: Path, tmp_path: Path
) -> None:
    state = {name: value for name, value in {**openai_state, **change}.items() if value is not None}
    torch.save(state, tmp_path / "old.pt")
    with pytest.raises(ValueError, match=message):
        convert(tmp_path / "old.pt", like=str(clip_folder), output=tmp_path / "new")


def test_a_model_that_is_no_clip_is_no_pattern(openai_state: State, siglip_folder: Path, tmp_path: Path) -> None:
    torch.save(openai_state, tmp_path / "old.pt")
    for like in ("tiny", str(siglip_folder)):
        with pytest.raises(ValueError, match="is no CLIP model of transformers"):
            convert(tmp_path / "old.pt", like=like, output=tmp_path / "new")


def test_a_folder_that_is_not_empty_is_left_alone(clip_folder: Path, tmp_path: Path) -> None:
    before = Path(shutil.copytree(clip_folder, tmp_path / "new"))
    with pytest.raises(ValueError, match="exists and is not empty"):
        convert(tmp_path / "old.pt", like=str(clip_folder), output=before)
