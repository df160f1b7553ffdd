"""VisionTextDualEncoderModel of transformers: an image tower and a text tower of any kind, with two projections."""

from typing import Any

import torch
from torch import Tensor, nn

from surefoot.backbones._clip import ClipImageTower, ClipTextTower, clip_tokenizer
from surefoot.backbones._processor import HuggingFaceTokenizer, image_spec
from surefoot.backbones._towers import ImageTower, TextTower
from surefoot.backbones._transformers import (
    NO_CODE,
    HuggingFaceBackbone,
    Place,
    checkpoint_blocks,
    open_weights,
    require_image_processor,
    require_tokenizer,
)

AFTER_FILLING = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl")
"""Their positions are counted from the id that fills rows up."""


class AnyImageTower(ImageTower):
    """A vision model with a pooled output, such as ViT, and a projection."""

    def __init__(self, vision_model: Any, projection: nn.Linear) -> None:
        super().__init__()
        self.dim = projection.out_features
        self.blocks = _blocks("vision_model", vision_model)
        self.stem = ("vision_model.embeddings.",)
        self.vision_model: Any = vision_model
        self.visual_projection: nn.Linear = projection

    @property
    def output_weight(self) -> Tensor:
        return self.visual_projection.weight.T

    def checkpoint_gradients(self) -> None:
        checkpoint_blocks(self.vision_model)

    def raw(self, images: Tensor) -> Tensor:
        features: Tensor = self.visual_projection(_pooled(self.vision_model(pixel_values=images), "image"))
        return features.float()


class AnyTextTower(TextTower):
    """A language model with a pooled output, such as BERT, and a projection; it does not look at what fills rows up."""

    causal = False
    sees_filling = False

    def __init__(self, text_model: Any, projection: nn.Linear, *, pad: int) -> None:
        super().__init__()
        self.dim = projection.out_features
        self.blocks = _blocks("text_model", text_model)
        self.stem = ("text_model.embeddings.",)
        self.text_model: Any = text_model
        self.text_projection: nn.Linear = projection
        self.pad = pad

    @property
    def output_weight(self) -> Tensor:
        return self.text_projection.weight.T

    def checkpoint_gradients(self) -> None:
        checkpoint_blocks(self.text_model)

    def raw(self, tokens: Tensor) -> Tensor:
        mask = (tokens != self.pad).long()  # (N, L)
        features: Tensor = self.text_projection(_pooled(self.text_model(tokens, attention_mask=mask), "text"))
        return features.float()


def load_dual_encoder(place: Place) -> HuggingFaceBackbone:
    from transformers import VisionTextDualEncoderProcessor

    require_tokenizer(place)
    require_image_processor(place)
    model, name = open_weights("VisionTextDualEncoderModel", place), place.path
    vision, text = model.config.vision_config, model.config.text_config
    processor = VisionTextDualEncoderProcessor.from_pretrained(name, revision=place.revision, **NO_CODE)
    of_clip = vision.model_type == "clip_vision_model", text.model_type == "clip_text_model"
    pad = processor.tokenizer.pad_token_id
    backbone = HuggingFaceBackbone(
        model.config,
        (ClipImageTower if of_clip[0] else AnyImageTower)(model.vision_model, model.visual_projection),
        ClipTextTower(model.text_model, model.text_projection)
        if of_clip[1]
        else AnyTextTower(model.text_model, model.text_projection, pad=pad),
        tokenizer=clip_tokenizer(processor, text, name)
        if of_clip[1]
        else HuggingFaceTokenizer(processor, pad=pad, context=_context(text), vocabulary=text.vocab_size, name=name),
        image_spec=image_spec(processor.image_processor, reads=vision.image_size, name=name),
        log_scale=model.logit_scale,
        bias=torch.zeros(()),
        name=name,
    )
    backbone.embed_texts([""])  # an unknown pooling shows now, not after the data were read
    return backbone


def _context(text: Any) -> int:
    """The most tokens that a text tower reads."""
    before = text.pad_token_id + 1 if text.model_type in AFTER_FILLING else 0
    most: int = text.max_position_embeddings
    return most - before


def _pooled(output: Any, tower: str) -> Tensor:
    pooled: Tensor | None = output.get("pooler_output")
    if pooled is None:
        raise ValueError(f"the {tower} tower has no pooled output (pooler_output), which its projection reads")
    return pooled


def _blocks(prefix: str, model: nn.Module) -> tuple[str, ...]:
    """The names of the transformer's blocks: the first list of modules."""
    lists = ((name, part) for name, part in model.named_modules() if isinstance(part, nn.ModuleList))
    name, blocks = next(lists, ("", nn.ModuleList()))
    return tuple(f"{prefix}.{name}.{i}." for i in range(len(blocks)))
