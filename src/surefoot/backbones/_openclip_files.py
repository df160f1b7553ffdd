"""Where open_clip's models lie: their configuration, image settings and weights, and what is wrong with them.

Imported through `openclip`. Pickled objects are never opened.
"""

import difflib
import json
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from surefoot.pretrained import explained

CONFIG = "open_clip_config.json"
WEIGHTS = ("model.safetensors", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
HUB = "hf-hub:"  # open_clip's prefix of hub ids
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
DECODER = "text_decoder."  # of CoCa
NUMBERS = {"input_resolution", "context_length", "vocab_size"}  # in OpenAI's files, no weights


@dataclass(frozen=True)
class Found:
    """A model's configuration and image settings in open_clip's form, its weights, and the folder of its tokenizer."""

    model: Mapping[str, Any]
    images: Mapping[str, Any]
    weights: Path
    folder: str = ""  # empty: the tokenizer is open_clip's own, or at the hub


def find(library: Any, path: str, *, architecture: str, revision: str) -> Found:
    """What `path` stands for; `architecture` says what is in a file. ValueError where it stands for nothing."""
    if Path(path).is_file():
        return _in_a_file(library, Path(path), architecture)
    if architecture:
        raise ValueError(
            f"backbone.architecture={architecture} says what is in a file, but backbone.path={path} is none"
        )
    if Path(path).is_dir():
        return _in_a_folder(Path(path))
    if path.startswith(HUB):
        return _at_the_hub(path, revision)
    return _by_name(library, path)


def _by_name(library: Any, path: str) -> Found:
    """What open_clip knows under ARCHITECTURE/TAG; downloaded where it is not in the cache."""
    before, _, last = path.rpartition("/")
    architecture, tag = (before.replace("/", "-"), last) if before else (path, "")
    model = _architecture(library, architecture, f"backbone.path={path}")
    tags = library.list_pretrained_tags_by_model(architecture)
    known: Mapping[str, Any] = library.get_pretrained_cfg(architecture, tag)
    if not known:
        near = _near(tag, tags)
        raise ValueError(
            f"backbone.path={path}: open_clip {library.__version__} has no weights {tag!r} of {architecture}{near}. "
            f"Known: {', '.join(tags) or 'none'}; for a file of your own give backbone.path=FILE and "
            f"backbone.architecture={architecture}"
        )
    if known.get("quick_gelu"):  # the weights say how they were trained, whatever the architecture's name
        model["quick_gelu"] = True
    with explained(f"backbone {path!r}", path, kind="open_clip"):
        weights = library.download_pretrained(known)
    return Found(model, _images(known), Path(weights))


def _at_the_hub(path: str, revision: str) -> Found:
    from open_clip.pretrained import download_pretrained_from_hf

    with explained(f"backbone {path!r}", path, kind="open_clip", revision=revision):
        model_id = path.removeprefix(HUB)
        config = Path(download_pretrained_from_hf(model_id, filename=CONFIG, revision=revision))
        weights = Path(download_pretrained_from_hf(model_id, revision=revision))
    model, images = _read(config)
    return Found(model, images, weights)


def _in_a_folder(folder: Path) -> Found:
    if not (folder / CONFIG).is_file():
        raise ValueError(
            f"backbone.path={folder} has no {CONFIG}; give a folder as open_clip's hub models have it, or a file with "
            "weights and backbone.architecture"
        )
    weights = [folder / name for name in WEIGHTS if (folder / name).is_file()]
    if not weights:
        raise ValueError(f"backbone.path={folder} has no weights: none of {', '.join(WEIGHTS)} is there")
    model, images = _read(folder / CONFIG)
    return Found(model, images, weights[0], str(folder))


def _in_a_file(library: Any, file: Path, architecture: str) -> Found:
    if not architecture:
        raise ValueError(
            f"backbone.path={file} is a file, which does not say what is in it; give backbone.architecture=NAME, such "
            "as ViT-B-16 (ViT-B-16-quickgelu for weights that began as OpenAI's)"
        )
    model = _architecture(library, architecture, f"backbone.architecture={architecture}")
    tags = library.list_pretrained_tags_by_model(architecture)
    settings = [_images(library.get_pretrained_cfg(architecture, tag)) for tag in tags]
    same = bool(settings) and all(others == settings[0] for others in settings)
    return Found(model, settings[0] if same else _images({}), file)


def _architecture(library: Any, name: str, option: str) -> dict[str, Any]:
    known = library.list_models()
    if name not in known:
        raise ValueError(
            f"{option}: open_clip {library.__version__} has no architecture {name!r}{_near(name, known)}. "
            "python -c 'import open_clip; print(*open_clip.list_pretrained())' shows all; write one as ARCHITECTURE/TAG"
        )
    found: dict[str, Any] = library.get_model_config(name)
    return found


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=3)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _read(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model's configuration and the image settings of an open_clip_config.json."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        model: dict[str, Any] = content["model_cfg"]
        if not {"embed_dim", "vision_cfg", "text_cfg"} <= set(model):
            raise ValueError("model_cfg needs embed_dim, vision_cfg and text_cfg")
        return model, _images(content.get("preprocess_cfg", {}))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} cannot be used: {error}") from error


def _images(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Image settings in open_clip's form, with its defaults for those that are not told."""
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    found: dict[str, Any] = merge_preprocess_dict(PreprocessCfg(), dict(settings))
    return found


def load_weights(library: Any, model: Any, file: Path, *, name: str) -> None:
    """Read a checkpoint into the model, in float32 whatever the file holds. ValueError names a tensor that is wrong."""
    if file.suffix not in SUFFIXES:
        raise ValueError(f"backbone {name!r}: {file} is no file with weights; there are {', '.join(SUFFIXES)}")
    try:
        found = library.load_checkpoint(model, str(file), strict=False, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"backbone {name!r}: {file} holds more than tensors, and opening such a pickle can run code, so it is "
            "refused; save the state dict alone: torch.save(model.state_dict(), new_file)"
        ) from error
    except (RuntimeError, AssertionError, AttributeError, KeyError, StopIteration, SafetensorError, OSError) as error:
        raise ValueError(f"backbone {name!r}: {file} {_what_is_wrong(model, file, error)}") from error
    unknown = [n for n in found.unexpected_keys if not n.startswith(DECODER) and n not in NUMBERS]
    for what, names in (("lacks", found.missing_keys), ("has other", unknown)):
        if names:
            raise ValueError(
                f"backbone {name!r}: {file} {what} weights: {', '.join(names[:3])}; it belongs to another architecture"
            )


def _what_is_wrong(model: Any, file: Path, error: Exception) -> str:
    """Why a checkpoint could not be read into the model."""
    from open_clip.factory import load_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    if "TorchScript" in str(error):
        return (
            "is a TorchScript archive, which is refused, as opening one can run code; for OpenAI's models give "
            "ARCHITECTURE/openai, or if you trust it save torch.jit.load(file).state_dict() with torch.save"
        )
    try:
        state = convert_to_custom_text_state_dict(load_state_dict(str(file), weights_only=True))
        shapes = {
            name: (tuple(t.shape), tuple(state[name].shape)) for name, t in model.state_dict().items() if name in state
        }
    except Exception:
        return f"cannot be read: {error}"
    wrong = {name: both for name, both in shapes.items() if both[0] != both[1]}
    if not wrong:
        return f"cannot be read: {error}"
    first = min(wrong, key=lambda name: name.endswith("positional_embedding"))  # open_clip resizes these where it can
    wanted, there = wrong[first]
    return f"holds another architecture: {first} has shape {there}, but the model needs {wanted}"
