"""Options of the engine for the towers: rates of their own, frozen towers, layer decay, gradient checkpointing."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from surefoot import plugins
from surefoot.backbones.base import Backbone, load_backbone
from surefoot.checkpoint import TrainState
from surefoot.data.batch import Batch
from surefoot.data.prompts import Prompts
from surefoot.engine.optim import current_rate
from surefoot.engine.rates import rate_groups
from surefoot.engine.train import EngineConfig, build_fabric, fit
from surefoot.methods.base import Method, Progress, Stage
from surefoot.options import check

PROMPTS = Prompts(("red", "green", "blue"), ("a {}",), ("a dim {}", "a wet {}"))
START = Progress(step=0, steps=10, epoch=0, epochs=1)
VISION, TEXT = "backbone.image.vision_model.", "backbone.text.text_model."


def make(name: str, backbone: Backbone) -> Method:
    plugin = plugins.find("methods", name, base=Method)
    return plugin(plugin.Config(), backbone, PROMPTS)


def batch(backbone: Backbone, count: int = 6) -> Batch:
    size, draw = backbone.image_spec.size, torch.Generator().manual_seed(0)
    images, index = torch.randn(count, 3, size, size, generator=draw), torch.arange(count)
    return Batch(images, index % 3, torch.full((count,), -1), index, torch.zeros_like(index))


def by_name(method: Method, **options: float) -> dict[str, float]:
    """What multiplies the rate of each weight that trains."""
    given = {"image_lr": 1.0, "text_lr": 1.0, "layer_decay": 1.0, **options}
    names = {parameter: name for name, parameter in method.named_parameters()}
    groups = rate_groups(method, method.stages[0], **given)
    return {names[parameter]: rate for rate, group in groups.items() for parameter in group}


def train(method: Method, *, steps: int = 1, **options: Any) -> list[float]:
    """Train on one batch again and again; gives the rates that were logged."""
    given = {"batch_size": 6, "epochs": steps, "lr": 0.01, "weight_decay": 0.0, "warmup": 0.0, "accelerator": "cpu"}
    config = check(EngineConfig, "engine", {**given, "precision": "32", **options})
    rates: list[float] = []

    def batches(stage: Stage, *, start: int) -> Iterator[Batch]:
        while True:
            yield batch(method.backbone)

    def look(state: TrainState, steps: int, optimizer: torch.optim.Optimizer, terms: Mapping[str, Tensor]) -> None:
        rates.append(current_rate(optimizer))

    fit(build_fabric(config), method, batches, config, TrainState(), images=6, seed=0, on_look=look)
    return rates


# --- rates ----------------------------------------------------------------------------------------------------------


def test_without_options_all_learn_as_the_stage_says(clip_folder: Path) -> None:
    method = make("flyp", load_backbone(str(clip_folder)))
    found = rate_groups(method, method.stages[0], image_lr=1, text_lr=1, layer_decay=1)
    expected = method.stages[0].by_rate(method.train_only(method.stages[0].train))
    assert list(found) == list(expected) == [1.0]
    assert all(one is other for one, other in zip(found[1.0], expected[1.0], strict=True))


def test_layer_decay_is_a_power_of_the_blocks_above(clip_folder: Path) -> None:
    found = by_name(make("fine_tune", load_backbone(str(clip_folder))), layer_decay=0.5)
    assert found[f"{VISION}embeddings.patch_embedding.weight"] == 0.5**3
    assert found[f"{VISION}embeddings.class_embedding"] == 0.5**3
    assert found[f"{VISION}pre_layrnorm.weight"] == 0.5**3
    assert found[f"{VISION}encoder.layers.0.mlp.fc1.weight"] == 0.5**2
    assert found[f"{VISION}encoder.layers.1.self_attn.q_proj.bias"] == 0.5
    assert found[f"{VISION}post_layernorm.bias"] == 1
    assert found["backbone.image.visual_projection.weight"] == 1
    assert found["head.weight"] == 1
    assert set(found.values()) == {0.125, 0.25, 0.5, 1.0}


def test_each_tower_has_its_own_multiple_and_its_own_depth(siglip_folder: Path) -> None:
    found = by_name(make("flyp", load_backbone(str(siglip_folder))), image_lr=2, text_lr=0.1, layer_decay=0.5)
    assert found[f"{VISION}embeddings.position_embedding.weight"] == 2 * 0.125
    assert found[f"{VISION}head.probe"] == 2
    assert found[f"{TEXT}embeddings.token_embedding.weight"] == pytest.approx(0.1 * 0.125)
    assert found[f"{TEXT}encoder.layers.1.mlp.fc2.weight"] == pytest.approx(0.1 * 0.5)
    assert found[f"{TEXT}head.weight"] == pytest.approx(0.1)
    assert found["backbone.log_scale"] == 1


def test_the_stages_own_rates_are_multiplied_further(clip_folder: Path) -> None:
    found = by_name(make("miro", load_backbone(str(clip_folder))), image_lr=0.5)
    assert found[f"{VISION}post_layernorm.bias"] == 0.5
    assert {rate for name, rate in found.items() if name.startswith("term.")} == {10.0}


def test_the_first_step_of_adam_is_as_long_as_the_rate_says(clip_folder: Path) -> None:
    method = make("flyp", load_backbone(str(clip_folder)))
    before = {name: parameter.detach().clone() for name, parameter in method.named_parameters()}
    rates = train(method, layer_decay=0.5, text_lr=0.1)
    assert rates == [0.01]  # as it is logged: before it is multiplied
    moved = {name: float((p.detach() - before[name]).abs().max()) for name, p in method.named_parameters()}
    assert moved[f"{VISION}embeddings.patch_embedding.weight"] == pytest.approx(0.01 * 0.125, rel=1e-3)
    assert moved[f"{VISION}encoder.layers.1.mlp.fc2.weight"] == pytest.approx(0.01 * 0.5, rel=1e-3)
    assert moved["backbone.image.visual_projection.weight"] == pytest.approx(0.01, rel=1e-3)
    assert moved["backbone.text.text_projection.weight"] == pytest.approx(0.001, rel=1e-3)


def test_a_multiple_of_0_freezes_a_tower(clip_folder: Path) -> None:
    for frozen, trained in (("image", "text"), ("text", "image")):
        method = make("flyp", load_backbone(str(clip_folder)))
        before = {name: parameter.detach().clone() for name, parameter in method.named_parameters()}
        train(method, steps=2, **{f"{frozen}_lr": 0}, weight_decay=0.1)
        for name, parameter in method.named_parameters():
            if name.startswith(f"backbone.{frozen}."):
                assert torch.equal(parameter, before[name]), name
                assert parameter.grad is None
        moved = [name for name, parameter in method.named_parameters() if not torch.equal(parameter, before[name])]
        assert any(name.startswith(f"backbone.{trained}.") for name in moved)
        assert "backbone.log_scale" in moved


def test_a_method_that_moves_weights_itself_leaves_a_frozen_tower_alone(clip_folder: Path) -> None:
    method = make("ftp", load_backbone(str(clip_folder)))
    before = {name: parameter.detach().clone() for name, parameter in method.backbone.named_parameters()}
    train(method, steps=2, image_lr=0)
    assert all(torch.equal(value, before[name]) for name, value in method.backbone.named_parameters())


def test_what_leaves_nothing_to_train_is_refused(clip_folder: Path) -> None:
    method = make("flyp", load_backbone(str(clip_folder)))
    method.stages = (Stage(train=("backbone.image.",)),)
    with pytest.raises(ValueError, match=r"engine\.image_lr=0 and engine\.text_lr=1 freeze all that a stage trains"):
        by_name(method, image_lr=0)


def test_layer_decay_needs_a_tower_that_names_its_blocks() -> None:
    method = make("flyp", load_backbone("tiny"))
    with pytest.raises(ValueError, match=r"layer_decay: the image tower of 'tiny' .*TinyImageTower\.blocks"):
        by_name(method, layer_decay=0.5)
    assert set(by_name(method, image_lr=0.5).values()) == {0.5, 1.0}
    assert set(by_name(make("linear_probe", load_backbone("tiny")), layer_decay=0.5).values()) == {1.0}


@pytest.mark.parametrize("options", [{"image_lr": -1}, {"text_lr": "nan"}, {"layer_decay": 0}, {"layer_decay": 1.1}])
def test_options_out_of_range_are_refused(options: Mapping[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        EngineConfig.model_validate(options)


# --- gradient checkpointing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["flyp", "miro", "r_adapter"])
@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_checkpointing_gives_the_same_loss_and_gradients(
    name: str, kind: str, clip_folder: Path, siglip_folder: Path
) -> None:
    method = make(name, load_backbone(str(clip_folder if kind == "clip" else siglip_folder))).train()
    training = method.train_only(method.stages[0].train)
    calls = {"image": 0, "text": 0}
    for tower, model in (("image", method.backbone.image.vision_model), ("text", method.backbone.text.text_model)):

        def count(*_: object, tower: str = tower) -> None:
            calls[tower] += 1

        model.encoder.layers[1].layer_norm1.register_forward_pre_hook(count)

    def loss_and_gradients() -> tuple[Tensor, list[Tensor]]:
        torch.manual_seed(0)  # r_adapter drops at random, also when a block is computed again
        loss = torch.stack(list(method(batch(method.backbone), START).values())).sum()
        return loss.detach(), list(torch.autograd.grad(loss, list(training.values())))

    expected = loss_and_gradients()
    plain = dict(calls)
    method.backbone.image.checkpoint_gradients()
    method.backbone.text.checkpoint_gradients()
    found = loss_and_gradients()
    assert calls["image"] - plain["image"] == 2 * plain["image"]  # once more, on the way back
    assert (found[0] - expected[0]).abs() <= 1e-6
    for key, one, other in zip(training, found[1], expected[1], strict=True):
        assert (one - other).abs().max() <= 1e-6 * other.abs().max().clamp(min=1), key


def test_the_engine_turns_checkpointing_on_and_trains_to_the_same_weights(clip_folder: Path) -> None:
    plain, checkpointed = (make("flyp", load_backbone(str(clip_folder))) for _ in range(2))
    train(plain, steps=3)
    train(checkpointed, steps=3, checkpointing=True)
    for model in (checkpointed.backbone.image.vision_model, checkpointed.backbone.text.text_model):
        assert all(layer.gradient_checkpointing for layer in model.encoder.layers)
    for (name, one), (_, other) in zip(plain.named_parameters(), checkpointed.named_parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4, msg=name)


def test_a_tower_that_cannot_compute_its_blocks_again_says_so() -> None:
    with pytest.raises(ValueError, match=r"engine\.checkpointing=true: this image tower cannot"):
        train(make("flyp", load_backbone("tiny")), checkpointing=True)


def test_the_rates_of_the_towers_hold_for_a_composition_too(clip_folder: Path) -> None:
    plugin = plugins.find("methods", "compose", base=Method)
    config = plugin.Config.model_validate({"base": "flyp", "terms": ["lipsum_ft"]})
    method = plugin(config, load_backbone(str(clip_folder)), PROMPTS)
    found = by_name(method, image_lr=0.5, text_lr=0.0, layer_decay=0.1)
    layer = "base.backbone.image.vision_model.encoder.layers.{}.mlp.fc1.weight"
    assert found[layer.format(0)] == pytest.approx(0.5 * 0.1**2)
    assert found[layer.format(1)] == pytest.approx(0.5 * 0.1)
    assert not any(".text." in name for name in found)
