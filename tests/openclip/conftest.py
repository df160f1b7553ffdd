"""For tests only: makes open_clip importable beside a CPU build of torch, and builds small models with it.

`make test-openclip` runs this folder, in an environment of its own; elsewhere it is skipped, for want of open_clip.
torchvision's compiled operators are made for CUDA and do not load beside a CPU build of torch. Importing it then fails
at the two whose shapes it describes at once. No model uses them; so their schemas, without any code, are all it needs.
The library itself does nothing of the kind.
"""

import copy
import json
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

OPERATORS = ("nms", "qnms")  # those that torchvision._meta_registrations describes whether or not they are there

if torch.version.cuda is None and find_spec("torchvision") is not None:
    _fragment = torch.library.Library("torchvision", "FRAGMENT")  # before anything imports torchvision
    for _operator in OPERATORS:
        _fragment.define(f"{_operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports the hub's client

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
VIT = {"image_size": 32, "layers": 2, "width": 48, "head_width": 24, "patch_size": 8}
TOKENIZER = "the folder of the tokenizer"  # replaced
SIGLIP_TEXT = {
    "context_length": 32,
    "vocab_size": 64,
    "hf_tokenizer_name": TOKENIZER,
    "tokenizer_kwargs": {"clean": "canonicalize"},
    "width": 64,
    "heads": 2,
    "layers": 2,
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
    "norm_kwargs": {"eps": 1e-6},
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "clip": {"embed_dim": 24, "vision_cfg": VIT, "text_cfg": TEXT},
    "quickgelu": {"embed_dim": 24, "quick_gelu": True, "vision_cfg": VIT, "text_cfg": TEXT},
    "eos": {  # the other pooling at the end of text, layer scale, the last norm after pooling
        "embed_dim": 24,
        "custom_text": True,
        "vision_cfg": {**VIT, "pool_type": "avg", "final_ln_after_pool": True, "ls_init_value": 0.5},
        "text_cfg": {**TEXT, "pool_type": "eos", "eos_id": 49407, "proj_type": "none", "width": 24},
    },
    "coca": {
        "embed_dim": 24,
        "custom_text": True,
        "vision_cfg": {**VIT, "attentional_pool": True, "attn_pooler_heads": 4, "output_tokens": True},
        "text_cfg": {**TEXT, "context_length": 76, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {"context_length": 76, "vocab_size": 49408, "width": 24, "heads": 2, "layers": 1},
    },
    "siglip": {
        "embed_dim": 64,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": 160,
            "timm_model_name": "test_vit",
            "timm_model_pretrained": False,
            "timm_pool": "map",
            "timm_proj": "none",
            "timm_drop_path": 0.5,
        },
        "text_cfg": SIGLIP_TEXT,
    },
    "convnext": {
        "embed_dim": 24,
        "vision_cfg": {
            "image_size": 64,
            "timm_model_name": "test_convnext",
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "linear",
            "timm_drop": 0.5,
            "timm_drop_path": 0.5,
        },
        "text_cfg": TEXT,
    },
    "resnet": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None},
        "text_cfg": TEXT,
    },
}
SQUASHED = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bilinear", "resize_mode": "squash"}

Make = Callable[..., Path]


@pytest.fixture(scope="session")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer of letters that closes texts as T5's does; it is filled up with its end of text."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = ["<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz0123456789"]
    backend = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex("."), "isolated")]
    )
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    folder = tmp_path_factory.mktemp("letters")
    made = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="</s>", pad_token="</s>")
    made.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_open_clip(tmp_path_factory: pytest.TempPathFactory, letters: Path) -> Make:
    """Save a small model of open_clip with random weights into a folder, as its models at the hub are."""
    import open_clip
    import open_clip.factory
    from safetensors.torch import save_file

    def make(name: str, folder: Path, **preprocess: Any) -> Path:
        config = json.loads(json.dumps(ARCHITECTURES[name]).replace(json.dumps(TOKENIZER), json.dumps(str(letters))))
        configs = tmp_path_factory.mktemp("configs")
        known = copy.deepcopy(open_clip.factory._MODEL_CONFIGS), list(open_clip.factory._MODEL_CONFIG_PATHS)
        (configs / f"small-{name}.json").write_text(json.dumps(config))
        open_clip.add_model_config(configs / f"small-{name}.json")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = open_clip.create_model(f"small-{name}")
            for parameter in model.parameters():  # fresh weights are so small that every sentence looks alike
                parameter.data += 0.05 * torch.randn_like(parameter)
        open_clip.factory._MODEL_CONFIGS, open_clip.factory._MODEL_CONFIG_PATHS[:] = known
        images = SQUASHED if name == "siglip" else {}
        content = {"model_cfg": config, "preprocess_cfg": {**images, **preprocess}}
        (folder / "open_clip_config.json").write_text(json.dumps(content))
        save_file(
            {n: value.contiguous() for n, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
        )
        if name == "siglip":
            for file in letters.iterdir():
                (folder / file.name).write_bytes(file.read_bytes())
        return folder

    return make


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory, make_open_clip: Make) -> dict[str, Path]:
    """A folder for each architecture; to be read only."""
    return {name: make_open_clip(name, tmp_path_factory.mktemp(name)) for name in ARCHITECTURES}
