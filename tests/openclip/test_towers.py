"""Every kind of model that open_clip builds gives open_clip's own numbers, and keeps what a backbone promises."""

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

pytest.importorskip("open_clip", reason="make test-openclip")

import open_clip

from surefoot.backbones.base import Backbone, load_backbone

KINDS = ["clip", "quickgelu", "eos", "coca", "siglip", "convnext", "resnet"]
CUT = {"clip", "quickgelu", "eos", "convnext", "resnet"}
TRANSFORMERS = {
    "clip": "visual.transformer.resblocks",
    "coca": "visual.transformer.resblocks",
    "siglip": "visual.trunk.blocks",
}
TEXTS = ["a photo of a small red dog", "cat", "a house boat, 2 of them", "cat", ""]

every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def backbones(folders: dict[str, Path]) -> dict[str, Backbone]:
    """To be read only."""
    return {kind: load_backbone(str(folder)).eval() for kind, folder in folders.items()}


def theirs(folder: Path) -> nn.Module:
    model: nn.Module = open_clip.create_model(f"local-dir:{folder}").eval()
    return model


def images(backbone: Backbone, count: int = 3) -> Tensor:
    size = backbone.image_spec.size
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


# --- the same numbers as open_clip ----------------------------------------------------------------------------------


@every_kind
@torch.no_grad()
def test_image_features_are_those_of_open_clip(
    kind: str, folders: dict[str, Path], backbones: dict[str, Backbone]
) -> None:
    found = backbones[kind].image(images(backbones[kind]))
    expected = theirs(folders[kind]).encode_image(images(backbones[kind]), normalize=True)
    assert (found[0] - found[1]).abs().max() > 1e-4
    assert (found - expected).abs().max() < 1e-6


@every_kind
@torch.no_grad()
def test_text_features_are_those_of_open_clip(
    kind: str, folders: dict[str, Path], backbones: dict[str, Backbone]
) -> None:
    tokens = open_clip.get_tokenizer(f"local-dir:{folders[kind]}")(TEXTS)
    expected = theirs(folders[kind]).encode_text(tokens, normalize=True)
    found = backbones[kind].encode_text(TEXTS)
    assert len(torch.unique(found.round(decimals=4), dim=0)) == 4  # the sentences do differ
    assert (found - expected).abs().max() < 1e-6


@every_kind
@torch.no_grad()
def test_scale_and_bias_are_those_of_open_clip(
    kind: str, folders: dict[str, Path], backbones: dict[str, Backbone]
) -> None:
    model, backbone = theirs(folders[kind]), backbones[kind]
    bias = model.logit_bias
    assert backbone.scale.shape == backbone.bias.shape == ()
    assert torch.equal(backbone.scale, model.logit_scale.exp())
    assert backbone.bias == (0 if bias is None else bias)
    assert (bias is not None) == (kind == "siglip")


@every_kind
def test_tokens_are_those_of_open_clip_up_to_the_longest_text(
    kind: str, folders: dict[str, Path], backbones: dict[str, Backbone]
) -> None:
    expected = open_clip.get_tokenizer(f"local-dir:{folders[kind]}")(TEXTS)
    found = backbones[kind].tokenize(TEXTS)
    assert (found.shape[1] < expected.shape[1]) == (kind in CUT)
    assert torch.equal(found, expected[:, : found.shape[1]])
    assert kind not in CUT or bool((expected[:, found.shape[1] :] == 0).all())


@every_kind
def test_a_text_that_is_too_long_is_cut_as_open_clip_cuts_it(
    kind: str, folders: dict[str, Path], backbones: dict[str, Backbone]
) -> None:
    text = "a very long story of a dog " * 20
    with pytest.warns(UserWarning, match="is left out"):
        found = load_backbone(str(folders[kind])).tokenize([text])
    assert torch.equal(found, open_clip.get_tokenizer(f"local-dir:{folders[kind]}")([text]))


@pytest.mark.parametrize("kind", sorted(CUT))
def test_cut_text_has_the_features_and_gradients_of_the_whole_context(kind: str, folders: dict[str, Path]) -> None:
    backbone = load_backbone(str(folders[kind])).eval()
    whole = open_clip.get_tokenizer(f"local-dir:{folders[kind]}")(TEXTS)
    weight = torch.randn(len(TEXTS), backbone.dim)
    named = dict(backbone.text.named_parameters())
    features = backbone.encode_text(TEXTS), backbone.text(whole)
    assert (features[0] - features[1]).abs().max() < 1e-6
    found, expected = (torch.autograd.grad((f * weight).sum(), list(named.values())) for f in features)
    for name, f, e in zip(named, found, expected, strict=True):
        assert torch.allclose(f, e, atol=1e-5, rtol=1e-4), name


@pytest.mark.parametrize("kind", ["siglip", "coca"])
@torch.no_grad()
def test_text_whose_filling_counts_is_never_cut(kind: str, backbones: dict[str, Backbone]) -> None:
    backbone = backbones[kind]
    assert not backbone.text.causal
    assert backbone.tokenize(["cat"]).shape == (1, backbone.tokenizer.context)


# --- what a backbone promises ---------------------------------------------------------------------------------------


@every_kind
def test_features_have_length_one_in_float32_also_under_autocast(kind: str, backbones: dict[str, Backbone]) -> None:
    backbone = backbones[kind]
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = [backbone.image(images(backbone)), backbone.encode_text(TEXTS)]
        raw = backbone.image.raw(images(backbone)), backbone.text.raw(backbone.tokenize(TEXTS))
    assert {features.dtype for features in (*found, *raw)} == {torch.float32}
    for features in found:
        assert (features.norm(dim=-1) - 1).abs().max() < 1e-6


@every_kind
def test_every_weight_gets_a_gradient(kind: str, folders: dict[str, Path]) -> None:
    backbone = load_backbone(str(folders[kind])).train()
    similarities = backbone.scale * backbone.image(images(backbone)) @ backbone.encode_text(TEXTS).T
    similarities.square().sum().backward()
    assert [name for name, p in backbone.named_parameters() if p.requires_grad and p.grad is None] == []


@every_kind
@torch.no_grad()
def test_nothing_is_random_in_training_and_no_statistics_move(kind: str, folders: dict[str, Path]) -> None:
    backbone = load_backbone(str(folders[kind]))
    before = copy.deepcopy(backbone.state_dict())
    expected = backbone.eval().image(images(backbone)), backbone.encode_text(TEXTS)
    found = backbone.train().image(images(backbone)), backbone.encode_text(TEXTS)
    assert all((f - e).abs().max() < 1e-6 for f, e in zip(found, expected, strict=True))
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


@every_kind
def test_the_output_weights_are_the_last_linear_maps(kind: str, folders: dict[str, Path]) -> None:
    backbone = load_backbone(str(folders[kind]))
    inputs = {"image": images(backbone), "text": backbone.tokenize(TEXTS)}
    for name, tower in (("image", backbone.image), ("text", backbone.text)):
        weight = tower.output_weight
        assert weight.shape[1] == backbone.dim
        assert weight.requires_grad
        assert any(weight.data_ptr() == parameter.data_ptr() for parameter in tower.parameters())
        before = tower.raw(inputs[name])
        with torch.no_grad():
            weight.mul_(3)
        assert (tower.raw(inputs[name]) - before).abs().max() > 1e-3


@pytest.mark.parametrize("kind", sorted(TRANSFORMERS))
def test_blocks_parts_and_branches_name_the_layers_of_a_transformer(kind: str, folders: dict[str, Path]) -> None:
    backbone = load_backbone(str(folders[kind]))
    layers = len(backbone.image.parts) - 1
    assert backbone.image.blocks == tuple(f"{TRANSFORMERS[kind]}.{i}." for i in range(layers))
    assert all(
        any(n.startswith(block) for n, _ in backbone.image.named_parameters()) for block in backbone.image.blocks
    )
    called: list[nn.Module] = []
    watched = [*backbone.image.parts, *backbone.image.branches, *backbone.text.branches]
    for module in watched:
        module.register_forward_hook(lambda module, *_: called.append(module))
    for training in (True, False):
        called.clear()
        backbone.train(training)
        with torch.no_grad():
            backbone.image(images(backbone))
            backbone.encode_text(TEXTS)
        assert {id(module) for module in called} == {id(module) for module in watched}
        assert len(called) == len(watched)
    assert len(backbone.text.branches) == 4
    assert len(backbone.image.branches) == (0 if kind == "siglip" else 2 * layers)


@pytest.mark.parametrize("kind", ["convnext", "resnet"])
def test_an_image_tower_without_such_layers_names_none(kind: str, backbones: dict[str, Backbone]) -> None:
    tower = backbones[kind].image
    assert (tower.blocks, list(tower.parts), list(tower.branches)) == ((), [], [])


@every_kind
@torch.no_grad()
def test_random_texts_leave_out_the_special_tokens(kind: str, folders: dict[str, Path]) -> None:
    backbone = load_backbone(str(folders[kind])).eval()
    seen: list[Tensor] = []
    backbone.text.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert backbone.embed_random_texts(5, length=8, seed=0, moment=0).shape == (5, backbone.dim)
    start = 0 if kind == "siglip" else 1
    drawn = seen[0][:, start : start + 8]
    assert not set(drawn.flatten().tolist()) & backbone.tokenizer.special
    assert set(seen[0][:, start + 8].tolist()) == {backbone.tokenizer.end}
    assert backbone.tokenizer.size == (38 if kind == "siglip" else 49408)


# --- there and back -------------------------------------------------------------------------------------------------


@every_kind
@torch.no_grad()
def test_a_saved_backbone_opens_again_here_and_in_open_clip(
    kind: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    backbone = load_backbone(str(folders[kind])).eval()
    for parameter in backbone.parameters():
        parameter.add_(0.001)
    backbone.save(tmp_path)
    again = load_backbone(str(tmp_path)).eval()
    assert backbone.state_dict().keys() == again.state_dict().keys()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in backbone.state_dict().items())
    assert again.image_spec == backbone.image_spec
    assert torch.equal(again.tokenize(TEXTS), backbone.tokenize(TEXTS))
    model = theirs(tmp_path)
    tokens = open_clip.get_tokenizer(f"local-dir:{tmp_path}")(TEXTS)
    assert (model.encode_image(images(backbone), normalize=True) - backbone.image(images(backbone))).abs().max() < 1e-6
    assert (model.encode_text(tokens, normalize=True) - backbone.encode_text(TEXTS)).abs().max() < 1e-6
    assert torch.equal(model.logit_scale, backbone.log_scale)
    saved = json.loads((tmp_path / "open_clip_config.json").read_text())
    assert "multimodal_cfg" not in saved["model_cfg"]
    assert "block_type" not in saved["model_cfg"]["vision_cfg"]


@every_kind
def test_every_weight_stands_in_the_saved_file_under_the_name_that_is_told(
    kind: str, backbones: dict[str, Backbone], tmp_path: Path
) -> None:
    backbone = backbones[kind]
    backbone.save(tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        state = backbone.state_dict()
        assert set(file.keys()) == set(backbone.file_names.values())
        assert state.keys() - backbone.file_names.keys() == (set() if kind == "siglip" else {"bias"})
        assert all(torch.equal(file.get_tensor(there), state[name]) for name, there in backbone.file_names.items())


@every_kind
def test_a_copy_trains_apart(kind: str, folders: dict[str, Path]) -> None:
    backbone = load_backbone(str(folders[kind]))
    twin = copy.deepcopy(backbone)
    before = backbone.image.output_weight.detach().clone()
    with torch.no_grad():
        twin.image.output_weight.zero_()
    assert torch.equal(backbone.image.output_weight, before)
    assert twin.image.output_weight.abs().max() == 0
    assert twin.tokenizer is backbone.tokenizer
