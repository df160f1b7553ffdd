import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from surefoot.exporting import Format, export
from surefoot.exporting.openclip import model_config, renamed

BACK = [  # open_clip's names to those of transformers, written the other way round than in the library
    (r"^visual\.transformer\.resblocks\.", "vision_model.encoder.layers."),
    (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"\.ln_([12])\.", r".layer_norm\1."),
    (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"^visual\.ln_pre\.", "vision_model.pre_layrnorm."),
    (r"^visual\.ln_post\.", "vision_model.post_layernorm."),
    (r"^visual\.class_embedding$", "vision_model.embeddings.class_embedding"),
    (r"^visual\.positional_embedding$", "vision_model.embeddings.position_embedding.weight"),
    (r"^visual\.conv1\.", "vision_model.embeddings.patch_embedding."),
    (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"^ln_final\.", "text_model.final_layer_norm."),
]


def back(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    found = {}
    for name, tensor in state.items():
        if name in ("visual.proj", "text_projection"):
            found[{"visual.proj": "visual_projection", "text_projection": "text_projection"}[name] + ".weight"] = (
                tensor.T
            )
            continue
        for pattern, there in BACK:
            name = re.sub(pattern, there, name)
        if ".attn.in_proj_" in name:
            stem, kind = name.split(".attn.in_proj_")
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                found[f"{stem}.self_attn.{part}_proj.{kind}"] = rows
        else:
            found[name] = tensor
    return found


def test_every_tensor_comes_back_from_the_names_of_open_clip(make_run: Any, tmp_path: Path) -> None:
    run = make_run()
    export(run, Format.openclip, tmp_path / "out")
    expected = load_file(run / "classifier" / "model.safetensors")
    found = back(load_file(tmp_path / "out" / "open_clip_model.safetensors"))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_config_describes_the_network_and_the_images(make_run: Any, tmp_path: Path) -> None:
    export(make_run(), Format.openclip, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "open_clip_config.json").read_text())
    network, image = config["model_cfg"], config["preprocess_cfg"]
    assert (network["embed_dim"], network["quick_gelu"]) == (24, True)
    vision = {"image_size": 32, "patch_size": 8, "width": 48, "layers": 2, "head_width": 24, "mlp_ratio": 64 / 48}
    assert network["vision_cfg"] == vision
    assert network["text_cfg"]["context_length"] == 16
    assert "pool_type" not in network["text_cfg"]  # the end of text is the highest id
    assert (image["size"], image["interpolation"], image["resize_mode"]) == (32, "bicubic", "shortest")
    assert (tmp_path / "out" / "tokenizer.json").is_file()


def clip_config(**changes: Any) -> dict[str, Any]:
    from transformers import CLIPConfig

    config = CLIPConfig().to_dict()
    for name, value in changes.items():
        part, _, option = name.partition("__")
        config[part][option] = value
    return config


def test_an_end_of_text_that_is_not_the_highest_id_is_named() -> None:
    text = model_config(clip_config(), end=5, context=77)["text_cfg"]
    assert (text["pool_type"], text["eos_id"]) == ("eos", 5)


def test_another_epsilon_is_passed_on() -> None:
    network = model_config(clip_config(vision_config__layer_norm_eps=1e-6), end=49407, context=77)
    assert network["vision_cfg"]["norm_kwargs"] == {"eps": 1e-6}
    assert "norm_kwargs" not in network["text_cfg"]


def test_towers_of_different_activations_are_refused() -> None:
    with pytest.raises(ValueError, match=r"activations are gelu, quick_gelu.*Use --to onnx"):
        model_config(clip_config(vision_config__hidden_act="gelu"), end=49407, context=77)


def test_a_tensor_without_a_place_is_named() -> None:
    with pytest.raises(ValueError, match=r"the tensor 'vision_model\.gate', which open_clip's CLIP has not"):
        renamed({"vision_model.gate": torch.zeros(1)})
