"""Old files, made of a small CLIPModel by the inverse of what `converting` does."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import CLIPModel

BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def as_openai(model: CLIPModel) -> dict[str, Tensor]:
    """The state dict in OpenAI's names and shapes."""
    state = {name: value.detach().clone() for name, value in model.state_dict().items()}
    found = {"logit_scale": state["logit_scale"]}
    for tower, prefix in (("vision_model", "visual."), ("text_model", "")):
        embeddings = f"{tower}.embeddings."
        found[f"{prefix}positional_embedding"] = state[f"{embeddings}position_embedding.weight"]
        for i in range(2):
            old, new = f"{tower}.encoder.layers.{i}.", f"{prefix}transformer.resblocks.{i}."
            for kind in ("weight", "bias"):
                joint = [state[f"{old}self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
                found[f"{new}attn.in_proj_{kind}"] = torch.cat(joint)
                for there, here in BLOCK.items():
                    found[f"{new}{here}.{kind}"] = state[f"{old}{there}.{kind}"]
    for kind in ("weight", "bias"):
        found[f"visual.ln_pre.{kind}"] = state[f"vision_model.pre_layrnorm.{kind}"]
        found[f"visual.ln_post.{kind}"] = state[f"vision_model.post_layernorm.{kind}"]
        found[f"ln_final.{kind}"] = state[f"text_model.final_layer_norm.{kind}"]
    found["visual.class_embedding"] = state["vision_model.embeddings.class_embedding"]
    found["visual.conv1.weight"] = state["vision_model.embeddings.patch_embedding.weight"]
    found["visual.proj"] = state["visual_projection.weight"].T.contiguous()
    found["token_embedding.weight"] = state["text_model.embeddings.token_embedding.weight"]
    found["text_projection"] = state["text_projection.weight"].T.contiguous()
    return found


@pytest.fixture(scope="session")
def tuned(clip_folder: Path) -> CLIPModel:
    """The small CLIP with other weights."""
    model = CLIPModel.from_pretrained(clip_folder)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


@pytest.fixture
def openai_state(tuned: CLIPModel) -> dict[str, Tensor]:
    return as_openai(tuned)
