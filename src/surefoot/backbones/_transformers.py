"""What the families of models in transformers' format share: opening their files, and a backbone that saves them again.

Only safetensors are read, and no code that lies beside them; weights become float32.
"""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from surefoot.backbones._processor import PROCESSOR_FILES, TOKENIZER_FILES, HuggingFaceTokenizer, resize_processor
from surefoot.backbones._towers import ImageTower, TextTower
from surefoot.backbones.base import Backbone
from surefoot.data.images import ImageSpec
from surefoot.pretrained import has_one_of

INDEX = "model.safetensors.index.json"
NO_CODE = {"trust_remote_code": False}


@dataclass(frozen=True)
class Place:
    """Where a model lies: a folder or a hub id, and the revision of a hub id."""

    path: str
    revision: str = "main"


class HuggingFaceBackbone(Backbone):
    """Towers made of a transformers model; `fixed` names what never trains as the model's file does."""

    tokenizer: HuggingFaceTokenizer

    def __init__(
        self,
        config: Any,
        image: ImageTower,
        text: TextTower,
        *,
        tokenizer: HuggingFaceTokenizer,
        image_spec: ImageSpec,
        log_scale: nn.Parameter,
        bias: Tensor,
        name: str,
        fixed: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(
            image, text, tokenizer=tokenizer, image_spec=image_spec, log_scale=log_scale, bias=bias, name=name
        )
        self.config = config
        self._fixed = dict(fixed)

    @property
    def file_names(self) -> dict[str, str]:
        names = {name: name.removeprefix("image.").removeprefix("text.") for name in self.state_dict()}
        del names["bias"]
        return {**names, "log_scale": "logit_scale"}

    def save(self, folder: Path) -> None:
        self.config.save_pretrained(folder)
        self.tokenizer.processor.save_pretrained(folder)
        state, names = self.state_dict(), {**self.file_names, **self._fixed}
        weights = {there: state[name].detach().float().cpu().contiguous() for name, there in names.items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    def read_images_of(self, size: int) -> None:
        """Interpolate the position embeddings for images of `size` x `size`, as transformers does (bicubic).

        Raises ValueError where the size is no multiple of the patches, or the image tower is of another kind.
        """
        vision: Any = self.image.vision_model
        config = self.config.vision_config
        if config.model_type not in ("clip_vision_model", "siglip_vision_model", "metaclip_2_vision_model"):
            raise ValueError(
                f"backbone.image_size={size}: the image tower of {self.name!r} is a {config.model_type!r}; only those "
                "of CLIP and SigLIP can change their size; set it to 0"
            )
        embeddings: Any = vision.embeddings
        if size % embeddings.patch_size:
            near = max(1, round(size / embeddings.patch_size)) * embeddings.patch_size
            raise ValueError(
                f"backbone.image_size={size}: {self.name!r} reads patches of {embeddings.patch_size} x "
                f"{embeddings.patch_size} pixels; give a multiple of {embeddings.patch_size}, such as {near}"
            )
        positions = embeddings.position_embedding.weight
        patches = (size // embeddings.patch_size) ** 2
        rows = patches + len(positions) - embeddings.num_patches  # CLIP has a class token before the patches
        with torch.no_grad():
            like = positions.new_empty(1, rows, positions.shape[1])
            changed = embeddings.interpolate_pos_encoding(like, size, size)[0].clone()  # (rows, width)
        embeddings.position_embedding = nn.Embedding(rows, changed.shape[1], _weight=changed)
        embeddings.position_ids = nn.Buffer(torch.arange(rows).expand((1, -1)), persistent=False)
        embeddings.image_size, embeddings.num_patches, embeddings.num_positions = size, patches, rows
        config.image_size = size
        spec = self.image_spec
        self.image_spec = replace(spec, size=size, resize=max(size, round(spec.resize * size / spec.size)))
        resize_processor(self.tokenizer.processor.image_processor, self.image_spec)


def read_config(place: Place) -> dict[str, Any]:
    """config.json of a model; ValueError where code lies beside it, or weights outside of it are named."""
    from transformers import PreTrainedConfig

    found: tuple[dict[str, Any], Any] = PreTrainedConfig.get_config_dict(place.path, revision=place.revision)
    content = found[0]
    if content.get("auto_map"):
        kind = ", ".join(content.get("architectures") or [str(content.get("model_type"))])
        raise ValueError(
            f"backbone {place.path!r} ({kind}) comes with code of its own (auto_map in config.json), which is not run; "
            "take a model of a family that transformers knows. EVA-CLIP, of which that is true, opens with open_clip"
        )
    _check_index(Path(place.path))
    return content


def open_weights(kind: str, place: Place) -> Any:
    """The model of the class `kind` of transformers in float32; ValueError naming a tensor that is missing or odd."""
    import transformers  # seconds to import: only when used

    model, found = getattr(transformers, kind).from_pretrained(
        place.path,
        revision=place.revision,
        use_safetensors=True,
        dtype=torch.float32,
        attn_implementation="sdpa",
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # to name them below
    )
    if found["mismatched_keys"]:
        name, there, wanted = min(found["mismatched_keys"])
        raise ValueError(
            f"backbone {place.path!r}: {name} has shape {tuple(there)}, but its config.json says {tuple(wanted)}; "
            "these files do not belong together"
        )
    if found["missing_keys"]:
        some = ", ".join(sorted(found["missing_keys"])[:3])
        raise ValueError(f"backbone {place.path!r} lacks the weights {some}; the checkpoint is not a whole {kind}")
    return model


class EncoderImageTower(ImageTower):
    """An image tower of the CLIP family: embeddings, then an encoder of layers with two residual branches each."""

    def __init__(self, vision_model: Any, *, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.blocks = _layer_names("vision_model", vision_model)
        self.stem = ("vision_model.embeddings.", "vision_model.pre_layrnorm.")  # the norm is CLIP's alone
        self.vision_model: Any = vision_model

    @property
    def parts(self) -> list[nn.Module]:
        return [self.vision_model.embeddings.patch_embedding, *self.vision_model.encoder.layers]

    @property
    def branches(self) -> list[nn.Linear]:
        return _branches(self.vision_model)

    def checkpoint_gradients(self) -> None:
        checkpoint_blocks(self.vision_model)


class EncoderTextTower(TextTower):
    """A text tower of the CLIP family, built alike."""

    def __init__(self, text_model: Any, *, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.blocks = _layer_names("text_model", text_model)
        self.stem = ("text_model.embeddings.",)
        self.text_model: Any = text_model

    @property
    def branches(self) -> list[nn.Linear]:
        return _branches(self.text_model)

    def checkpoint_gradients(self) -> None:
        checkpoint_blocks(self.text_model)


def _layer_names(tower: str, model: Any) -> tuple[str, ...]:
    return tuple(f"{tower}.encoder.layers.{i}." for i in range(len(model.encoder.layers)))


def checkpoint_blocks(model: Any) -> None:
    """Let a model of transformers compute its blocks again on the way back, in training."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # later releases of transformers 5 have another name for it
        model.gradient_checkpointing_enable({"use_reentrant": False})  # the kind for hooks and frozen weights


def _branches(transformer: Any) -> list[nn.Linear]:
    """The last linear map of each residual branch of an encoder."""
    layers = transformer.encoder.layers
    return [branch for layer in layers for branch in (layer.self_attn.out_proj, layer.mlp.fc2)]


def require_tokenizer(place: Place) -> None:
    """transformers would make an empty tokenizer where there is none."""
    _require(place, "tokenizer", TOKENIZER_FILES)


def require_image_processor(place: Place) -> None:
    """As `require_tokenizer`."""
    _require(place, "image processor", PROCESSOR_FILES)


def _require(place: Place, what: str, names: tuple[str, ...]) -> None:
    if not has_one_of(place.path, names, revision=place.revision):
        raise ValueError(
            f"backbone {place.path!r} has no {what}: neither {names[0]} nor {names[1]} is there; "
            "save the model's whole processor beside it with processor.save_pretrained"
        )


def _check_index(folder: Path) -> None:
    """The index of a checkpoint in parts may name files of its own folder only."""
    if not (folder / INDEX).is_file():
        return
    try:
        parts = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{folder / INDEX} is damaged ({error}); take the checkpoint again") from error
    outside = sorted(part for part in parts if Path(part).name != part)
    if outside:
        raise ValueError(f"{folder / INDEX} names {outside[0]!r}, a file outside its folder, which is refused")
