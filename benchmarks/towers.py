"""Towers of ViT-B/32's size with random weights, for the benchmarks: nothing is downloaded, and nothing saved."""

from pathlib import Path

import torch
from torch import nn

from surefoot.backbones._clip import ClipImageTower, ClipTextTower
from surefoot.backbones.base import Backbone, Tokenizer
from surefoot.backbones.tiny import WordTokenizer
from surefoot.data.images import ImageSpec

CONTEXT = 77


class Towers(Backbone):
    """Both towers of CLIP ViT-B/32, or of another patch; unless told otherwise a token is a word."""

    def __init__(self, patch: int = 32, *, tokenizer: Tokenizer = WordTokenizer(CONTEXT)) -> None:  # noqa: B008
        from transformers import CLIPConfig, CLIPModel

        text, vision = {"bos_token_id": 0, "eos_token_id": tokenizer.end}, {"patch_size": patch}
        config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=512)  # else as published
        config._attn_implementation = "sdpa"
        torch.manual_seed(0)
        model = CLIPModel(config)
        super().__init__(
            ClipImageTower(model.vision_model, model.visual_projection),
            ClipTextTower(model.text_model, model.text_projection),
            tokenizer=tokenizer,
            image_spec=ImageSpec(size=224, mean=(0.5,) * 3, std=(0.5,) * 3, resize=224),
            log_scale=nn.Parameter(torch.tensor(100.0).log()),
            bias=torch.zeros(()),
            name=f"ViT-B/{patch} size",
        )

    def save(self, folder: Path) -> None:
        raise ValueError(f"{folder}: these towers have random weights; there is nothing to save")
