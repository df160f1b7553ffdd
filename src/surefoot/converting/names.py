"""The names of OpenAI's CLIP, which open_clip, WiSE-FT and FLYP share, become those of transformers' CLIPModel.

Only models whose image tower is a vision transformer can be read. Which file the tensors come from is not known here.
"""

import re
from collections.abc import Mapping

from torch import Tensor

OPENAI, TRANSFORMERS = "visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight"
OTHERS = {  # what tells another kind of model
    "visual.layer1.0.conv1.weight": "its image tower is a ResNet",
    "visual.trunk.": "its image tower is a model of timm",
    "text_decoder.": "it is a CoCa, with a decoder",
    "logit_bias": "it is a SigLIP",
}
NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "attn_mask", "position_ids")
PLACES = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre": "vision_model.pre_layrnorm",
    "visual.ln_post": "vision_model.post_layernorm",
    "visual.transformer.resblocks": "vision_model.encoder.layers",
    "transformer.resblocks": "text_model.encoder.layers",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final": "text_model.final_layer_norm",
    "logit_scale": "logit_scale",
    "text_projection.weight": "text_projection.weight",
}
TRANSPOSED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
IN_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
BLOCK = re.compile(r"^(visual\.transformer\.resblocks|transformer\.resblocks)\.(\d+)\.(.+)$")


def model_prefix(state: Mapping[str, Tensor]) -> str:
    """What stands before the model's own names, such as "module.image_encoder.model.".

    Raises ValueError where there is no CLIP with a vision transformer, or more than one.
    """
    ends = (OPENAI, TRANSFORMERS)
    found = {name[: -len(end)] for name in state for end in ends if name.endswith(end) and _is_start(name, end)}
    if len(found) > 1:
        listed = ", ".join(repr(prefix) for prefix in sorted(found))
        raise ValueError(f"it holds more than one model, under {listed}; save the state dict of one of them alone")
    if found:
        return found.pop()
    known = [reason for part, reason in OTHERS.items() if any(part in name for name in state)]
    reason = known[0] if known else f"its tensors are called {', '.join(sorted(state)[:3])}..."
    raise ValueError(
        f"it holds no CLIP with a vision transformer in the names of OpenAI, open_clip or transformers: {reason}"
    )


def in_transformers_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model's tensors, without the prefix, under the names of transformers' CLIPModel, in float32.

    The joint projection of queries, keys and values (3W, W) becomes three; projections (W, D) are transposed. Raises
    ValueError naming tensors that CLIP does not have.
    """
    state = {name: value for name, value in state.items() if name.rpartition(".")[2] not in NO_WEIGHTS}
    if TRANSFORMERS in state:
        return {name: value.float() for name, value in state.items()}
    found: dict[str, Tensor] = {}
    unknown = []
    for name, value in state.items():
        new = _renamed(name.removeprefix("text."), value.float())  # open_clip's models with a text tower apart
        found |= new
        if not new:
            unknown.append(name)
    if unknown:
        known = [reason for part, reason in OTHERS.items() if any(part in name for name in unknown)]
        why = f"; {known[0]}" if known else ""
        raise ValueError(f"it has tensors that CLIP does not have, such as {', '.join(sorted(unknown)[:3])}{why}")
    return found


def _is_start(name: str, end: str) -> bool:
    return len(name) == len(end) or name[-len(end) - 1] == "."


def _renamed(name: str, value: Tensor) -> dict[str, Tensor]:
    """One tensor under its new name or names; empty where CLIP has no such tensor."""
    if name in TRANSPOSED:
        return {TRANSPOSED[name]: value.T.contiguous()}
    if name == "logit_scale":
        return {name: value.reshape(())}
    if name in PLACES:
        return {PLACES[name]: value}
    block = BLOCK.match(name)
    if block:
        layer = f"{PLACES[block[1]]}.{block[2]}"
        return {f"{layer}.{inner}": part for inner, part in _in_block(block[3], value).items()}
    module, _, kind = name.rpartition(".")
    return {f"{PLACES[module]}.{kind}": value} if module in PLACES and kind in ("weight", "bias") else {}


def _in_block(name: str, value: Tensor) -> dict[str, Tensor]:
    for joint in ("weight", "bias"):
        if name == f"attn.in_proj_{joint}":
            parts = zip("qkv", value.chunk(3), strict=True)
            return {f"self_attn.{letter}_proj.{joint}": part.contiguous() for letter, part in parts}
    module, _, kind = name.rpartition(".")
    return {f"{IN_BLOCK[module]}.{kind}": value} if module in IN_BLOCK else {}
