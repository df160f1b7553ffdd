"""A folder that open_clip opens as `local-dir:FOLDER`: the same weights under its names.

open_clip joins query, key and value into one matrix and keeps projections the other way round. Its image transform has
one size for resizing and cropping.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from surefoot.exporting.source import Source

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
DEFAULT_EPSILON = 1e-5  # of open_clip's layer norms
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json")

SINGLE = {  # name in transformers -> name in open_clip
    "logit_scale": "logit_scale",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.pre_layrnorm": "visual.ln_pre",
    "vision_model.post_layernorm": "visual.ln_post",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm": "ln_final",
}
TURNED = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text_projection"}  # transposed
TOWERS = {
    "vision_model.encoder.layers": "visual.transformer.resblocks",
    "text_model.encoder.layers": "transformer.resblocks",
}
IN_LAYER = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
JOINED = ("q_proj", "k_proj", "v_proj")  # in this order, one matrix in open_clip


def write(source: Source, folder: Path) -> list[str]:
    """Write weights, config and tokenizer. ValueError where open_clip has no such network."""
    model = source.clip("openclip")
    spec, tokenizer = source.classifier.backbone.image_spec, source.classifier.backbone.tokenizer
    network = model_config(model.config.to_dict(), end=tokenizer.end, context=tokenizer.context)
    image = {
        "size": spec.size,
        "mean": spec.mean,
        "std": spec.std,
        "interpolation": spec.filter,
        "resize_mode": "shortest" if spec.fit == "crop" else "squash",
    }
    text = json.dumps({"model_cfg": network, "preprocess_cfg": image}, indent=2) + "\n"
    (folder / CONFIG).write_text(text, encoding="utf-8")
    save_file(renamed(model.state_dict()), folder / WEIGHTS, metadata={"format": "pt"})
    for name in TOKENIZER_FILES:
        if (source.folder / name).is_file():
            (folder / name).write_bytes((source.folder / name).read_bytes())
    notes = ["open_clip.create_model_and_transforms('local-dir:FOLDER'), open_clip.get_tokenizer('local-dir:FOLDER')"]
    if spec.resize != spec.size:
        notes.append(
            f"open_clip's transform makes the short side {spec.size} pixels, where this model was trained with "
            f"{spec.resize} and a centre crop: resize by yourself before it"
        )
    return notes


def model_config(config: Mapping[str, Any], *, end: int, context: int) -> dict[str, Any]:
    """open_clip's `model_cfg` for transformers' CLIPConfig (as a dictionary) and its end-of-text id."""
    vision, text = config["vision_config"], config["text_config"]
    activations = {vision["hidden_act"], text["hidden_act"]}
    if len(activations) > 1 or not activations <= {"gelu", "quick_gelu"}:
        raise ValueError(
            f"to=openclip: the towers' activations are {', '.join(sorted(activations))}; open_clip has gelu or "
            "quick_gelu, the same in both towers. Use --to onnx"
        )
    common = {"width": "hidden_size", "layers": "num_hidden_layers"}
    towers = []
    for part in (vision, text):
        tower = {ours: part[theirs] for ours, theirs in common.items()}
        tower["mlp_ratio"] = part["intermediate_size"] / part["hidden_size"]
        if part["layer_norm_eps"] != DEFAULT_EPSILON:
            tower["norm_kwargs"] = {"eps": part["layer_norm_eps"]}
        towers.append(tower)
    towers[0] |= {
        "image_size": vision["image_size"],
        "patch_size": vision["patch_size"],
        "head_width": vision["hidden_size"] // vision["num_attention_heads"],
    }
    towers[1] |= {
        "context_length": context,
        "vocab_size": text["vocab_size"],
        "heads": text["num_attention_heads"],
        "hf_tokenizer_name": "local",  # open_clip then takes the folder's own
    }
    if end != text["vocab_size"] - 1:  # else it is the highest id of a sentence, where open_clip looks by itself
        towers[1] |= {"pool_type": "eos", "eos_id": end}
    return {
        "embed_dim": config["projection_dim"],
        "quick_gelu": activations == {"quick_gelu"},
        "vision_cfg": towers[0],
        "text_cfg": towers[1],
    }


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """CLIPModel's tensors by their names in open_clip's CLIP. ValueError for one that has no place there."""
    found: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}  # of the joined matrices
    for name, tensor in state.items():
        if name.endswith("position_ids"):
            continue
        stem, _, kind = name.rpartition(".")
        layer = re.fullmatch(r"(\w+\.encoder\.layers)\.(\d+)\.(.+)", stem)
        if name in TURNED:
            found[TURNED[name]] = tensor.T.contiguous()
        elif name in SINGLE:
            found[SINGLE[name]] = tensor.contiguous()
        elif stem in SINGLE:
            found[f"{SINGLE[stem]}.{kind}"] = tensor.contiguous()
        elif layer and layer[3].removeprefix("self_attn.") in JOINED:
            there = f"{TOWERS[layer[1]]}.{layer[2]}.attn.in_proj_{kind}"
            parts.setdefault(there, {})[layer[3].removeprefix("self_attn.")] = tensor
        elif layer and layer[3] in IN_LAYER:
            found[f"{TOWERS[layer[1]]}.{layer[2]}.{IN_LAYER[layer[3]]}.{kind}"] = tensor.contiguous()
        else:
            raise ValueError(f"to=openclip: the model has the tensor {name!r}, which open_clip's CLIP has not")
    return found | {there: torch.cat([part[name] for name in JOINED]) for there, part in parts.items()}
