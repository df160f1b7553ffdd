"""CLIP models in transformers' format: a local folder or a hub id, opened for training and saved unchanged in form.

Only safetensors are read; weights become float32. Half precision while training belongs to the engine.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from surefoot.backbones.base import Backbone, BackboneSource, ImageTower, TextTower, Tokenizer
from surefoot.data.images import ImageSpec
from surefoot.pretrained import explained, has_one_of, no_progress_bars

if TYPE_CHECKING:
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor

TOKENIZER_FILES = ("tokenizer.json", "vocab.json")
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")
LEGACY_END = 2  # this eos_token_id in a config stands for "the highest id": see HuggingFaceTokenizer
BICUBIC = 3  # Pillow's number
REMEMBERED = 100_000  # texts whose tokens are kept


class HuggingFace(BackboneSource):
    class Config(BackboneSource.Config):
        path: str  # a folder, or a hub id such as openai/clip-vit-base-patch16
        revision: str = "main"  # branch, tag or commit of a hub id

    config: Config
    summary = "A CLIP model in transformers' format: a folder or a hub id (path), safetensors only"
    paper = "https://arxiv.org/abs/2103.00020"

    @classmethod
    def opens(cls, folder: Path) -> bool:
        return (folder / "config.json").is_file()

    def load(self) -> Backbone:
        from transformers import CLIPModel, CLIPProcessor  # seconds to import: only when used

        path, revision = self.config.path, self.config.revision
        with explained(f"backbone {path!r}", path, kind="CLIPModel", revision=revision), no_progress_bars():
            _require_clip(path, revision)
            _require_files(path, revision)
            model, found = CLIPModel.from_pretrained(
                path,
                revision=revision,
                use_safetensors=True,
                dtype=torch.float32,
                attn_implementation="sdpa",
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # to name them below
            )
            processor = CLIPProcessor.from_pretrained(path, revision=revision)
        if found["mismatched_keys"]:
            name, there, wanted = min(found["mismatched_keys"])
            raise ValueError(
                f"backbone {path!r}: {name} has shape {tuple(there)}, but its config.json says {tuple(wanted)}; "
                "these files do not belong together"
            )
        if found["missing_keys"]:
            some = ", ".join(sorted(found["missing_keys"])[:3])
            raise ValueError(f"backbone {path!r} lacks the weights {some}; the checkpoint is not a whole CLIP model")
        return HuggingFaceBackbone(model, processor, name=path)


class HuggingFaceBackbone(Backbone):
    tokenizer: "HuggingFaceTokenizer"

    def __init__(self, model: "CLIPModel", processor: "CLIPProcessor", *, name: str) -> None:
        super().__init__(
            HuggingFaceImageTower(model),
            HuggingFaceTextTower(model),
            tokenizer=HuggingFaceTokenizer(processor, model.config, name),
            image_spec=_image_spec(processor.image_processor, model.config, name),
            log_scale=model.logit_scale,
            bias=torch.zeros(()),
            name=name,
        )
        self.config = model.config

    @property
    def file_names(self) -> dict[str, str]:
        names = {name: name.removeprefix("image.").removeprefix("text.") for name in self.state_dict()}
        del names["bias"]
        return {**names, "log_scale": "logit_scale"}

    def save(self, folder: Path) -> None:
        self.config.save_pretrained(folder)
        self.tokenizer.processor.save_pretrained(folder)
        state = self.state_dict()
        weights = {there: state[name].detach().float().cpu().contiguous() for name, there in self.file_names.items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


class HuggingFaceImageTower(ImageTower):
    def __init__(self, model: "CLIPModel") -> None:
        super().__init__()
        self.dim = model.config.projection_dim
        self.blocks = tuple(f"vision_model.encoder.layers.{i}." for i in range(len(model.vision_model.encoder.layers)))
        self.vision_model: Any = model.vision_model
        self.visual_projection: nn.Linear = model.visual_projection

    @property
    def output_weight(self) -> Tensor:
        return self.visual_projection.weight.T

    @property
    def parts(self) -> list[nn.Module]:
        return [self.vision_model.embeddings.patch_embedding, *self.vision_model.encoder.layers]

    @property
    def branches(self) -> list[nn.Linear]:
        return _branches(self.vision_model)

    def raw(self, images: Tensor) -> Tensor:
        pooled = self.vision_model(pixel_values=images).pooler_output  # (N, width)
        features: Tensor = self.visual_projection(pooled)
        return features.float()


class HuggingFaceTextTower(TextTower):
    causal = True

    def __init__(self, model: "CLIPModel") -> None:
        super().__init__()
        self.dim = model.config.projection_dim
        self.text_model: Any = model.text_model
        self.text_projection: nn.Linear = model.text_projection

    @property
    def output_weight(self) -> Tensor:
        return self.text_projection.weight.T

    @property
    def branches(self) -> list[nn.Linear]:
        return _branches(self.text_model)

    def raw(self, tokens: Tensor) -> Tensor:
        pooled = self.text_model(input_ids=tokens).pooler_output  # (N, width), the state at the end of text
        features: Tensor = self.text_projection(pooled)
        return features.float()


def _branches(transformer: Any) -> list[nn.Linear]:
    layers = transformer.encoder.layers
    return [branch for layer in layers for branch in (layer.self_attn.out_proj, layer.mlp.fc2)]


class HuggingFaceTokenizer(Tokenizer):
    """A CLIP tokenizer, and the processor that is saved with it.

    transformers takes the state at the first `eos_token_id` as the sentence, or, where an old config says 2, at the
    highest id. Rows filled up with the end-of-text itself suit both.
    """

    def __init__(self, processor: "CLIPProcessor", config: "CLIPConfig", name: str) -> None:
        from tokenizers import Tokenizer as Backend

        text, tokens = config.text_config, processor.tokenizer
        if text.eos_token_id not in (LEGACY_END, tokens.eos_token_id):
            raise ValueError(
                f"backbone {name!r}: the text tower looks for the end-of-text id {text.eos_token_id}, but the "
                f"tokenizer writes {tokens.eos_token_id}; correct text_config.eos_token_id in config.json"
            )
        if len(tokens) > text.vocab_size:
            raise ValueError(
                f"backbone {name!r}: the tokenizer has {len(tokens)} tokens, the text tower {text.vocab_size}; "
                "these files do not belong together"
            )
        self.processor = processor
        self.context = min(text.max_position_embeddings, tokens.model_max_length)
        self.end = tokens.eos_token_id
        self.pad = tokens.eos_token_id
        self.size = len(tokens)
        self.special = frozenset(tokens.all_special_ids)
        self._backend: Any = Backend.from_str(tokens.backend_tokenizer.to_str())  # its own cutting and filling are off
        self._backend.no_truncation()
        self._backend.no_padding()
        self._known: dict[str, list[int]] = {}  # training meets the same captions again and again

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        if len(self._known) > REMEMBERED:
            self._known.clear()
        for text in texts:
            if text not in self._known:
                self._known[text] = self._backend.encode(text).ids  # encode_batch makes threads, which do not fork
        return [self._known[text] for text in texts]


def _require_clip(path: str, revision: str) -> None:
    from transformers import CLIPConfig

    content, _ = CLIPConfig.get_config_dict(path, revision=revision)
    kind = content.get("model_type")
    if kind != "clip":
        raise ValueError(
            f"backbone {path!r} is a model of type {kind!r}; only CLIP models (model_type 'clip', both towers with "
            "their projections) can be opened"
        )


def _require_files(path: str, revision: str) -> None:
    """transformers would make an empty tokenizer where there is none."""
    for what, names in (("tokenizer", TOKENIZER_FILES), ("image processor", PROCESSOR_FILES)):
        if not has_one_of(path, names, revision=revision):
            raise ValueError(
                f"backbone {path!r} has no {what}: neither {names[0]} nor {names[1]} is there; "
                "save the whole CLIPProcessor beside the model with processor.save_pretrained"
            )


def _image_spec(processor: Any, config: "CLIPConfig", name: str) -> ImageSpec:
    crop, resize = processor.crop_size, processor.size.shortest_edge
    steps = (processor.do_resize, processor.do_center_crop, processor.do_rescale, processor.do_normalize)
    if not all(steps) or not resize or crop.height != crop.width or processor.resample != BICUBIC:
        raise ValueError(
            f"backbone {name!r}: its image processor does not resize the short side (bicubic), crop a square from the "
            f"centre and normalise, as CLIP's does; change {PROCESSOR_FILES[0]} if the model was trained that way"
        )
    if config.vision_config.image_size not in (crop.height, [crop.height] * 2, (crop.height,) * 2):
        raise ValueError(
            f"backbone {name!r}: its image processor makes {crop.height} x {crop.height} pixels, but its image tower "
            f"reads {config.vision_config.image_size}; these files do not belong together"
        )
    return ImageSpec(size=crop.height, mean=tuple(processor.image_mean), std=tuple(processor.image_std), resize=resize)
