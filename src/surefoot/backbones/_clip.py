"""CLIP in transformers' format, whole or as two towers with projections; MetaCLIP and MetaCLIP 2 are built alike."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from surefoot.backbones._processor import HuggingFaceTokenizer, image_spec
from surefoot.backbones._transformers import (
    NO_CODE,
    EncoderImageTower,
    EncoderTextTower,
    HuggingFaceBackbone,
    Place,
    open_weights,
    require_image_processor,
    require_tokenizer,
)

LEGACY_END = 2  # this eos_token_id in a config stands for "the highest id": see `clip_tokenizer`
SCALE = math.log(100)  # where OpenAI's models end, for towers that come without one


class ClipImageTower(EncoderImageTower):
    def __init__(self, vision_model: Any, projection: nn.Linear) -> None:
        super().__init__(vision_model, dim=projection.out_features)
        self.visual_projection: nn.Linear = projection

    @property
    def output_weight(self) -> Tensor:
        return self.visual_projection.weight.T

    def raw(self, images: Tensor) -> Tensor:
        pooled = self.vision_model(pixel_values=images).pooler_output  # (N, width)
        features: Tensor = self.visual_projection(pooled)
        return features.float()


class ClipTextTower(EncoderTextTower):
    causal = True

    def __init__(self, text_model: Any, projection: nn.Linear) -> None:
        super().__init__(text_model, dim=projection.out_features)
        self.text_projection: nn.Linear = projection

    @property
    def output_weight(self) -> Tensor:
        return self.text_projection.weight.T

    def raw(self, tokens: Tensor) -> Tensor:
        pooled = self.text_model(input_ids=tokens).pooler_output  # (N, width), the state at the end of text
        features: Tensor = self.text_projection(pooled)
        return features.float()


def clip_tokenizer(processor: Any, text: Any, name: str) -> HuggingFaceTokenizer:
    """The tokenizer for a text tower with the config `text`, which takes the state at its end-of-text.

    transformers takes the state at the first `eos_token_id` as the sentence, or, where an old config says 2, at the
    highest id. Rows filled up with the end-of-text itself suit both.
    """
    written = processor.tokenizer.eos_token_id
    legacy = text.model_type == "clip_text_model" and text.eos_token_id == LEGACY_END
    if text.eos_token_id != written and not legacy:
        raise ValueError(
            f"backbone {name!r}: the text tower looks for the end-of-text id {text.eos_token_id}, but the "
            f"tokenizer writes {written}; correct text_config.eos_token_id in config.json"
        )
    context, size = text.max_position_embeddings, text.vocab_size
    return HuggingFaceTokenizer(processor, pad=written, context=context, vocabulary=size, name=name)


def load_clip(kind: str, place: Place) -> HuggingFaceBackbone:
    """A whole model: `kind` is CLIPModel or MetaClip2Model."""
    from transformers import CLIPProcessor

    require_tokenizer(place)
    require_image_processor(place)
    model = open_weights(kind, place)
    processor = CLIPProcessor.from_pretrained(place.path, revision=place.revision, **NO_CODE)
    return _backbone(model.config, model, model, processor, log_scale=model.logit_scale, name=place.path)


def load_pair(image: Place, text: Place) -> HuggingFaceBackbone:
    """CLIPVisionModelWithProjection and CLIPTextModelWithProjection: together a CLIPModel, and saved as one.

    Such a pair has no scale; it starts at 100, where OpenAI's models end.
    """
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPConfig, CLIPProcessor

    require_tokenizer(text)
    require_image_processor(image)
    towers = open_weights("CLIPVisionModelWithProjection", image), open_weights("CLIPTextModelWithProjection", text)
    sizes = [tower.config.projection_dim for tower in towers]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"backbone.text_path={text.path}: its features have {sizes[1]} dimensions, those of the image tower "
            f"{image.path} have {sizes[0]}; give two towers of one CLIP model"
        )
    processor = CLIPProcessor(
        image_processor=AutoImageProcessor.from_pretrained(image.path, revision=image.revision, **NO_CODE),
        tokenizer=AutoTokenizer.from_pretrained(text.path, revision=text.revision, **NO_CODE),
    )
    config = CLIPConfig(
        vision_config=copy.deepcopy(towers[0].config),
        text_config=copy.deepcopy(towers[1].config),
        projection_dim=sizes[0],
        logit_scale_init_value=SCALE,
    )
    config.architectures = ["CLIPModel"]
    return _backbone(config, *towers, processor, log_scale=nn.Parameter(torch.tensor(SCALE)), name=image.path)


def _backbone(
    config: Any, image: Any, text: Any, processor: Any, *, log_scale: nn.Parameter, name: str
) -> HuggingFaceBackbone:
    return HuggingFaceBackbone(
        config,
        ClipImageTower(image.vision_model, image.visual_projection),
        ClipTextTower(text.text_model, text.text_projection),
        tokenizer=clip_tokenizer(processor, config.text_config, name),
        image_spec=image_spec(processor.image_processor, reads=config.vision_config.image_size, name=name),
        log_scale=log_scale,
        bias=torch.zeros(()),
        name=name,
    )
