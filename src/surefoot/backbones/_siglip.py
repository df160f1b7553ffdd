"""SigLIP and SigLIP 2 of one resolution, in transformers' format (Zhai et al., 2023, arXiv:2303.15343; 2502.14786).

Both were trained with a sigmoid for each pair, sigmoid(exp(s) cosine + bias), on texts filled up to a fixed length. The
text tower looks both ways and takes the state at the last place, filling or not; so rows are never shortened.
"""

from typing import Any

from torch import Tensor

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
from surefoot.pretrained import has_one_of

SIGLIP_1, PIECES = "SiglipTokenizer", "spiece.model"


class SiglipImageTower(EncoderImageTower):
    """The features are those of the pooling head, whose last linear map stands for CLIP's projection."""

    def __init__(self, vision_model: Any) -> None:
        super().__init__(vision_model, dim=vision_model.config.hidden_size)

    @property
    def output_weight(self) -> Tensor:
        weight: Tensor = self.vision_model.head.mlp.fc2.weight
        return weight.T

    def raw(self, images: Tensor) -> Tensor:
        features: Tensor = self.vision_model(pixel_values=images).pooler_output
        return features.float()


class SiglipTextTower(EncoderTextTower):
    causal = False

    def __init__(self, text_model: Any) -> None:
        super().__init__(text_model, dim=text_model.head.out_features)

    @property
    def output_weight(self) -> Tensor:
        weight: Tensor = self.text_model.head.weight
        return weight.T

    def raw(self, tokens: Tensor) -> Tensor:
        features: Tensor = self.text_model(input_ids=tokens).pooler_output  # no mask: trained without
        return features.float()


def load_siglip(place: Place) -> HuggingFaceBackbone:
    require_tokenizer(place)
    require_image_processor(place)
    model, name = open_weights("SiglipModel", place), place.path
    vision, text = model.config.vision_config, model.config.text_config
    if not vision.vision_use_head:
        raise ValueError(
            f"backbone {name!r}: its image tower has no pooling head (vision_use_head is false), so that it gives no "
            "features of whole images; take a checkpoint with the head"
        )
    processor = _processor(place)
    context, size, pad = text.max_position_embeddings, text.vocab_size, processor.tokenizer.pad_token_id
    return HuggingFaceBackbone(
        model.config,
        SiglipImageTower(model.vision_model),
        SiglipTextTower(model.text_model),
        tokenizer=HuggingFaceTokenizer(processor, pad=pad, context=context, vocabulary=size, name=name),
        image_spec=image_spec(processor.image_processor, reads=vision.image_size, name=name),
        log_scale=model.logit_scale,
        bias=model.logit_bias.detach().clone(),  # no parameter: a softmax over classes or images does not see it
        name=name,
        fixed={"bias": "logit_bias"},
    )


def _processor(place: Place) -> Any:
    from transformers import AutoImageProcessor, SiglipProcessor

    images = AutoImageProcessor.from_pretrained(place.path, revision=place.revision, **NO_CODE)
    return SiglipProcessor(image_processor=images, tokenizer=_tokenizer(place))


def _tokenizer(place: Place) -> Any:
    """SigLIP 2 has Gemma's tokenizer, SigLIP one of SentencePiece; its tokenizer.json does where that is missing."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
    from transformers.models.auto.tokenization_auto import get_tokenizer_config
    from transformers.utils import is_sentencepiece_available

    told = get_tokenizer_config(place.path, revision=place.revision)
    of_siglip_1 = told.get("tokenizer_class", SIGLIP_1) == SIGLIP_1
    pieces = has_one_of(place.path, [PIECES], revision=place.revision)
    if not of_siglip_1 or (pieces and is_sentencepiece_available()):
        return AutoTokenizer.from_pretrained(place.path, revision=place.revision, **NO_CODE)
    missing = f"backbone {place.path!r} needs {PIECES} and what reads it, `pip install sentencepiece protobuf`"
    if not has_one_of(place.path, ["tokenizer.json"], revision=place.revision):
        raise ValueError(missing)
    tokens = PreTrainedTokenizerFast.from_pretrained(place.path, revision=place.revision)
    if tokens("A, b!").input_ids != tokens("a b").input_ids:  # SigLIP's texts have no capitals and no punctuation
        raise ValueError(f"{missing}: its tokenizer.json keeps capitals or punctuation")
    return tokens
