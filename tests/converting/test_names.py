import pytest
import torch

from surefoot.converting.names import in_transformers_names, model_prefix


def test_the_prefix_is_what_stands_before_the_models_own_names() -> None:
    for prefix in ("", "module.", "module.image_encoder.model."):
        state = {f"{prefix}visual.conv1.weight": torch.zeros(1), "classification_head.weight": torch.zeros(1)}
        assert model_prefix(state) == prefix
    assert model_prefix({"model.vision_model.embeddings.patch_embedding.weight": torch.zeros(1)}) == "model."


def test_two_models_in_one_file_are_refused() -> None:
    state = {f"{part}.visual.conv1.weight": torch.zeros(1) for part in ("teacher", "student")}
    with pytest.raises(ValueError, match=r"more than one model, under 'student\.', 'teacher\.'"):
        model_prefix(state)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("visual.layer1.0.conv1.weight", "image tower is a ResNet"),
        ("module.visual.trunk.blocks.0.norm1.weight", "image tower is a model of timm"),
        ("fc.weight", r"its tensors are called fc\.weight"),
        ("my_visual.conv1.weight", "its tensors are called"),
    ],
)
def test_other_architectures_are_refused(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        model_prefix({name: torch.zeros(1)})


def test_a_joint_projection_becomes_three() -> None:
    joint = torch.arange(12.0).reshape(6, 2)
    found = in_transformers_names({"visual.transformer.resblocks.3.attn.in_proj_weight": joint})
    layer = "vision_model.encoder.layers.3.self_attn"
    assert set(found) == {f"{layer}.{letter}_proj.weight" for letter in "qkv"}
    assert torch.equal(found[f"{layer}.q_proj.weight"], joint[:2])
    assert torch.equal(found[f"{layer}.v_proj.weight"], joint[4:])


def test_projections_are_transposed_and_all_becomes_float32() -> None:
    matrix = torch.arange(6.0).reshape(3, 2).half()
    found = in_transformers_names({"visual.proj": matrix, "text_projection": matrix, "logit_scale": torch.ones(1)})
    assert torch.equal(found["visual_projection.weight"], matrix.float().T)
    assert torch.equal(found["text_projection.weight"], matrix.float().T)
    assert found["logit_scale"].shape == ()
    linear = in_transformers_names({"text.text_projection.weight": matrix})  # open_clip's, where it has a bias' place
    assert torch.equal(linear["text_projection.weight"], matrix.float())


def test_numbers_and_masks_are_no_weights() -> None:
    state = dict.fromkeys(("input_resolution", "context_length", "vocab_size", "text.attn_mask"), torch.zeros(1))
    assert in_transformers_names(state) == {}


@pytest.mark.parametrize("name", ["logit_bias", "text_decoder.0.ln_1.weight", "visual.attn_pool.query", "extra"])
def test_tensors_that_clip_does_not_have_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=rf"tensors that CLIP does not have, such as {name}"):
        in_transformers_names({name: torch.zeros(1)})
