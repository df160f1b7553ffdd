import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import BertConfig, CLIPModel, CLIPProcessor, CLIPTextConfig, CLIPVisionConfig, Siglip2Config

from surefoot.backbones.base import load_backbone
from surefoot.data.images import Opened, evaluation_view, normalise, to_tensor

MakeClip = Callable[..., Any]
TEXTS = ["a photo", "cat", "a dog on it", "cat"]


@pytest.fixture
def folder(clip_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(clip_folder, tmp_path / "clip"))


def picture(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


# --- the same numbers as transformers -------------------------------------------------------------------------------


def test_image_features_are_bit_for_bit_those_of_transformers(clip_folder: Path) -> None:
    model, images = CLIPModel.from_pretrained(clip_folder), torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        expected = model.get_image_features(pixel_values=images).pooler_output
        found = load_backbone(str(clip_folder)).image.raw(images)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("end_id", [53, 2])
def test_text_features_are_those_of_transformers_padded_to_the_whole_context(
    make_clip: MakeClip, tmp_path: Path, end_id: int
) -> None:
    make_clip(tmp_path, end_id=end_id)
    model, processor = CLIPModel.from_pretrained(tmp_path), CLIPProcessor.from_pretrained(tmp_path)
    tokens = processor.tokenizer(TEXTS, padding="max_length", return_tensors="pt")
    with torch.no_grad():
        unmasked = model.get_text_features(input_ids=tokens.input_ids).pooler_output
        masked = model.get_text_features(**tokens).pooler_output
    backbone = load_backbone(str(tmp_path))
    found = backbone.encode_text(TEXTS)
    assert backbone.tokenize(TEXTS).shape[1] < 16
    assert len(torch.unique(found.round(decimals=4), dim=0)) == 3  # the sentences do differ
    for expected in (unmasked, masked):
        assert torch.allclose(found, torch.nn.functional.normalize(expected, dim=-1), atol=1e-6)


def test_text_features_of_the_same_tokens_are_bit_for_bit_those_of_transformers(clip_folder: Path) -> None:
    model, backbone = CLIPModel.from_pretrained(clip_folder), load_backbone(str(clip_folder))
    tokens = backbone.tokenize(TEXTS)
    with torch.no_grad():
        assert torch.equal(backbone.text.raw(tokens), model.get_text_features(input_ids=tokens).pooler_output)


def test_logits_are_those_of_transformers_from_the_image_file_on(clip_folder: Path) -> None:
    model, processor = CLIPModel.from_pretrained(clip_folder), CLIPProcessor.from_pretrained(clip_folder)
    images = [picture(32, 32), picture(64, 40)]
    with torch.no_grad():
        inputs = processor(text=TEXTS, images=images, padding=True, return_tensors="pt")
        expected = model(**inputs).logits_per_image
        backbone = load_backbone(str(clip_folder))
        views = [to_tensor(evaluation_view(Opened(image), backbone.image_spec)) for image in images]
        pixels = normalise(torch.stack(views), backbone.image_spec)
        found = backbone.scale * backbone.image(pixels) @ backbone.encode_text(TEXTS).T
    assert (found - expected)[0].abs().max() < 1e-4  # already at its size: the same pixels
    assert (found - expected).abs().max() < 0.1  # resized: the same pixels to a rounding level


def test_cut_and_unduplicated_text_has_the_gradients_of_the_whole(clip_folder: Path) -> None:
    backbone = load_backbone(str(clip_folder))
    end, context = backbone.tokenizer.end, backbone.tokenizer.context
    whole = torch.tensor([[*row, *[end] * (context - len(row))] for row in backbone.tokenizer.encode(TEXTS)])
    weight = torch.randn(len(TEXTS), backbone.dim)
    names = [name for name, _ in backbone.text.named_parameters()]
    found, expected = (
        torch.autograd.grad((features * weight).sum(), list(backbone.text.parameters()))
        for features in (backbone.encode_text(TEXTS), backbone.text(whole))
    )
    for name, f, e in zip(names, found, expected, strict=True):
        assert torch.allclose(f, e, atol=1e-5, rtol=1e-4), name  # of values about 1, summed in another order


def test_tokens_are_those_of_the_tokenizer(clip_folder: Path) -> None:
    backbone = load_backbone(str(clip_folder))
    tokens = CLIPProcessor.from_pretrained(clip_folder).tokenizer(TEXTS, padding=True, return_tensors="pt")
    assert torch.equal(backbone.tokenize(TEXTS), tokens.input_ids)


def test_a_long_text_keeps_its_end_of_text(clip_folder: Path) -> None:
    backbone = load_backbone(str(clip_folder))
    with pytest.warns(UserWarning, match="has 26 tokens, but the text tower of .* reads 16"):
        tokens = backbone.tokenize(["an overly long sentence here", "cat"])
    assert tokens.shape == (2, 16)
    assert tokens[0].tolist().index(backbone.tokenizer.end) == 15


# --- opening and saving ---------------------------------------------------------------------------------------------


def test_the_image_settings_come_from_the_processor(clip_folder: Path) -> None:
    spec = load_backbone(str(clip_folder)).image_spec
    assert (spec.size, spec.resize) == (32, 32)
    assert spec.mean == (0.48145466, 0.4578275, 0.40821073)
    assert spec.std == (0.26862954, 0.26130258, 0.27577711)


def test_the_scale_is_the_models_own(clip_folder: Path) -> None:
    backbone = load_backbone(str(clip_folder))
    assert backbone.scale.item() == pytest.approx(np.exp(3.0))
    assert backbone.bias.item() == 0


def test_a_checkpoint_with_the_file_names_of_older_releases_opens(clip_folder: Path, folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "vocab.json").write_text(json.dumps(tokenizer["model"]["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    edit(folder / "tokenizer_config.json", do_lower_case=True)
    old = {
        "feature_extractor_type": "CLIPFeatureExtractor",
        "crop_size": 32,
        "size": 40,
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.25, 0.25, 0.25],
        "resample": 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(old))
    (folder / "tokenizer.json").unlink()
    (folder / "processor_config.json").unlink()
    backbone, new = load_backbone(str(folder)), load_backbone(str(clip_folder))
    assert (backbone.image_spec.size, backbone.image_spec.resize) == (32, 40)
    assert backbone.image_spec.std == (0.25, 0.25, 0.25)
    assert torch.equal(backbone.tokenize(TEXTS), new.tokenize(TEXTS))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_precision_checkpoint_becomes_float32(folder: Path, dtype: torch.dtype) -> None:
    weights = {name: value.to(dtype) for name, value in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    edit(folder / "config.json", dtype=str(dtype).removeprefix("torch."))
    backbone = load_backbone(str(folder))
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32}
    assert torch.equal(backbone.log_scale.data, weights["logit_scale"].float())


def test_a_saved_backbone_opens_in_transformers_with_the_trained_weights(clip_folder: Path, tmp_path: Path) -> None:
    backbone = load_backbone(str(clip_folder))
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.01)
    backbone.save(tmp_path)
    model, found = CLIPModel.from_pretrained(tmp_path, output_loading_info=True)
    processor = CLIPProcessor.from_pretrained(tmp_path)
    assert not any(found.values())
    assert model.dtype == torch.float32
    images, tokens = torch.randn(2, 3, 32, 32), processor.tokenizer(TEXTS, padding=True, return_tensors="pt").input_ids
    with torch.no_grad():
        assert torch.equal(model.get_image_features(images).pooler_output, backbone.image.raw(images))
        assert torch.equal(model.get_text_features(tokens).pooler_output, backbone.text.raw(tokens))
    assert torch.equal(model.logit_scale, backbone.log_scale)
    again = load_backbone(str(tmp_path))
    assert all(
        torch.equal(a, b) for a, b in zip(again.state_dict().values(), backbone.state_dict().values(), strict=True)
    )
    assert again.image_spec == backbone.image_spec


def test_every_weight_stands_in_the_saved_file_under_the_name_that_is_told(clip_folder: Path, tmp_path: Path) -> None:
    backbone = load_backbone(str(clip_folder))
    backbone.save(tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        state = backbone.state_dict()
        assert set(file.keys()) == set(backbone.file_names.values())
        assert state.keys() - backbone.file_names.keys() == {"bias"}
        assert all(torch.equal(file.get_tensor(there), state[name]) for name, there in backbone.file_names.items())


def test_the_blocks_are_the_layers_of_the_image_tower(clip_folder: Path) -> None:
    tower = load_backbone(str(clip_folder)).image
    assert tower.blocks == ("vision_model.encoder.layers.0.", "vision_model.encoder.layers.1.")
    assert all(any(name.startswith(block) for name, _ in tower.named_parameters()) for block in tower.blocks)


def test_a_copy_trains_apart_and_saves(clip_folder: Path, tmp_path: Path) -> None:
    backbone = load_backbone(str(clip_folder))
    twin = copy.deepcopy(backbone)
    with torch.no_grad():
        twin.log_scale.add_(1)
    assert backbone.scale.item() == pytest.approx(np.exp(3.0))
    twin.save(tmp_path)
    assert load_backbone(str(tmp_path)).scale.item() == pytest.approx(np.exp(4.0))


def test_under_autocast_features_are_normalised_in_float32(clip_folder: Path) -> None:
    backbone = load_backbone(str(clip_folder))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = backbone.image(torch.randn(2, 3, 32, 32))
        words = backbone.encode_text(TEXTS)
    for rows in (features, words):
        assert rows.dtype == torch.float32
        assert (rows.norm(dim=-1) - 1).abs().max() < 1e-6


# --- what cannot be opened ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (BertConfig(), "is a model of type 'bert'; known are clip, metaclip_2, .*siglip"),
        (CLIPTextConfig(), "is a text tower alone: give its image tower"),
        (CLIPVisionConfig(), "is an image tower alone: set backbone.text_path"),
        (Siglip2Config(), r"own proportions \(NaFlex\).* take a SigLIP 2 of one resolution"),
    ],
)
def test_another_architecture_is_refused(tmp_path: Path, config: BertConfig, message: str) -> None:
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_backbone(str(tmp_path))


def test_a_model_that_brings_its_own_code_is_refused(folder: Path) -> None:
    edit(folder / "config.json", architectures=["EvaCLIPModel"], auto_map={"AutoModel": "modeling_evaclip.EvaCLIP"})
    (folder / "modeling_evaclip.py").write_text("raise SystemExit('this was run')")
    with pytest.raises(ValueError, match=r"\(EvaCLIPModel\) comes with code of its own .*EVA-CLIP.*open_clip"):
        load_backbone(str(folder))


def test_a_checkpoint_in_parts_may_not_name_files_outside_its_folder(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, "../outside.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"names '\.\./outside\.safetensors', a file outside its folder"):
        load_backbone(str(folder))


def test_a_long_text_can_be_refused(clip_folder: Path) -> None:
    backbone = load_backbone(str(clip_folder), options={"long_text": "refuse"})
    for _ in range(2):
        with pytest.raises(ValueError, match=r"has 26 tokens, but .* reads 16: give a shorter text, or"):
            backbone.encode_text(["cat", "an overly long sentence here"])
    assert backbone.tokenize(["cat"]).shape == (1, 5)


def test_a_long_text_is_refused_also_where_its_class_weights_are_remembered(
    clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUREFOOT_CACHE", str(tmp_path))
    sentences = [["an overly long sentence here"], ["cat"] * 1000]
    with pytest.warns(UserWarning, match="is left out"):
        load_backbone(str(clip_folder)).zero_shot_weights(sentences)
    assert list(tmp_path.rglob("*.safetensors"))
    backbone = load_backbone(str(clip_folder), options={"long_text": "refuse"})
    with pytest.raises(ValueError, match="give a shorter text"):
        backbone.zero_shot_weights(sentences)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (["tokenizer.json", "tokenizer_config.json"], "has no tokenizer: neither tokenizer.json nor vocab.json"),
        (["processor_config.json"], "has no image processor: neither processor_config.json"),
        (["model.safetensors"], "has no model.safetensors"),
    ],
)
def test_a_missing_file_is_named(folder: Path, missing: list[str], message: str) -> None:
    for name in missing:
        (folder / name).unlink()
    with pytest.raises(ValueError, match=message):
        load_backbone(str(folder))


def test_pickled_weights_are_refused(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"pickle \(pytorch_model.bin\).*refused.*convert it once"):
        load_backbone(str(folder))


def test_damaged_weights_are_refused(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="cannot be opened"):
        load_backbone(str(folder))


def test_missing_weights_are_named(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks the weights visual_projection\.weight"):
        load_backbone(str(folder))


def test_a_weight_of_another_shape_is_named(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["visual_projection.weight"] = torch.zeros(3, 3)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ValueError, match=r"visual_projection\.weight has shape \(3, 3\), but its config\.json says \(24, 48\)"
    ):
        load_backbone(str(folder))


def test_an_end_of_text_that_the_tokenizer_never_writes_is_refused(make_clip: MakeClip, tmp_path: Path) -> None:
    make_clip(tmp_path, end_id=7)
    with pytest.raises(ValueError, match="looks for the end-of-text id 7, but the tokenizer writes 53"):
        load_backbone(str(tmp_path))


def test_an_image_processor_of_another_size_is_refused(make_clip: MakeClip, tmp_path: Path) -> None:
    make_clip(tmp_path, image_size=64)
    with pytest.raises(ValueError, match="makes 32 x 32 pixels, but its image tower reads 64"):
        load_backbone(str(tmp_path))


@pytest.mark.parametrize(
    "change",
    [
        {"resample": 0},
        {"do_center_crop": False},
        {"size": {"height": 40, "width": 40}},
        {"size": {"height": 32, "width": 40}},
        {"rescale_factor": 1.0},
        {"do_normalize": False},
    ],
)
def test_image_steps_that_differ_from_clips_are_refused(folder: Path, change: dict[str, object]) -> None:
    path = folder / "processor_config.json"
    content = json.loads(path.read_text())
    content["image_processor"].update(change)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="does not resize the short side"):
        load_backbone(str(folder))


def why(names: list[tuple[str, str]], cache: Path, **environment: str) -> list[str]:
    """What load_backbone says to each (hub id, revision), in a process of its own: the hub's settings are read once."""
    script = (
        "import json, sys\nfrom surefoot.backbones.base import load_backbone\nsaid = []\n"
        "for name, revision in json.loads(sys.argv[1]):\n"
        "    try:\n        load_backbone(name, options={'revision': revision})\n"
        "    except ValueError as error:\n        said.append(str(error))\n"
        "print(json.dumps(said))"
    )
    kept = {
        name: value for name, value in os.environ.items() if "proxy" not in name.lower() and name != "HF_HUB_OFFLINE"
    }
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(names)],
        env={**kept, "HF_HOME": str(cache), "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: list[str] = json.loads(done.stdout)
    return said


def test_gated_and_missing_models_and_revisions_are_explained(refusing_hub: str, tmp_path: Path) -> None:
    names = [("some/gated", "main"), ("some/missing", "main"), ("some/model", "no-such-revision"), ("a/b/c", "main")]
    gated, missing, revision, malformed = why(names, tmp_path, HF_ENDPOINT=refusing_hub)
    assert "the model is gated; ask for access" in gated
    assert "no such folder, and no such model on the hub" in missing
    assert "no revision 'no-such-revision'" in revision
    assert "no such folder" in malformed


def test_an_offline_cache_without_the_model_is_explained(tmp_path: Path) -> None:
    (offline,) = why([("some/model", "main")], tmp_path, HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set and the model is not in the cache" in offline


@pytest.mark.slow  # the hub's client tries again for a while
def test_an_unreachable_hub_is_explained(tmp_path: Path) -> None:
    (unreachable,) = why([("some/model", "main")], tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert "the hub cannot be reached and the model is not in the cache" in unreachable


def test_random_texts_leave_out_the_special_tokens(clip_folder: Path) -> None:
    backbone = load_backbone(str(clip_folder))
    seen: list[torch.Tensor] = []
    backbone.text.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert backbone.embed_random_texts(50, length=8, seed=0, moment=0).shape == (50, backbone.dim)
    (tokens,) = seen
    assert (backbone.tokenizer.size, backbone.tokenizer.special) == (54, {52, 53})
    assert set(tokens[:, 0].tolist()) == {52}
    assert set(tokens[:, -1].tolist()) == {53}
    assert tokens[:, 1:-1].max() < 52


def test_the_output_weights_are_the_projections(clip_folder: Path) -> None:
    backbone = load_backbone(str(clip_folder))
    assert backbone.image.output_weight.shape == (48, 24)
    assert backbone.text.output_weight.shape == (32, 24)
