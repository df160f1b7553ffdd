"""Where models of open_clip come from, by name, hub id, folder and file; and what is said of those that do not open."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

pytest.importorskip("open_clip", reason="make test-openclip")

import open_clip

from surefoot.backbones.base import Backbone, load_backbone
from surefoot.data.images import Opened, evaluation_view, normalise, to_tensor

TEXTS = ["a photo of a dog", "cat"]
OPENAI = "timm/vit_base_patch32_clip_224.openai"  # where open_clip looks for ViT-B-32/openai


def load(path: str | Path, **options: str) -> Backbone:
    return load_backbone("openclip", options={"path": str(path), **options})


@pytest.fixture
def folder(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the small CLIP that a test may damage."""
    return Path(shutil.copytree(folders["clip"], tmp_path / "clip"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    import huggingface_hub.constants
    import huggingface_hub.file_download

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def into_cache(cache: Path, model_id: str) -> Path:
    """The folder of a model in a cache as the hub's client lays it out."""
    place, commit = cache / f"models--{model_id.replace('/', '--')}", "0123456789abcdef0123456789abcdef01234567"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    (place / "snapshots" / commit).mkdir(parents=True)
    return place / "snapshots" / commit


def edit(folder: Path, section: str, **changes: Any) -> None:
    path = folder / "open_clip_config.json"
    content = json.loads(path.read_text())
    target = content["model_cfg"][section] if section != "preprocess_cfg" else content[section]
    target.update(changes)
    path.write_text(json.dumps(content))


# --- where models come from -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ViT-B-32 as open_clip has it, with random weights in half precision, as OpenAI's are."""
    file = tmp_path_factory.mktemp("large") / "open_clip_model.safetensors"
    model = open_clip.create_model("ViT-B-32-quickgelu")
    save_file({name: value.half().contiguous() for name, value in model.state_dict().items()}, file)
    return file


@torch.no_grad()
def test_a_name_and_a_tag_open_as_they_were_trained(cache: Path, large: Path) -> None:
    """OpenAI's weights were trained with QuickGELU, which the architecture's name does not say."""
    os.link(large, into_cache(cache, OPENAI) / large.name)
    backbone = load("ViT-B-32/openai").eval()
    assert backbone.name == "openclip"
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32}
    assert (backbone.image_spec.size, backbone.image_spec.fit, backbone.image_spec.filter) == (224, "crop", "bicubic")
    assert backbone.image_spec.mean == (0.48145466, 0.4578275, 0.40821073)
    model = open_clip.create_model("ViT-B-32-quickgelu", pretrained="openai").eval()
    images = torch.randn(2, 3, 224, 224)
    assert (backbone.image(images) - model.encode_image(images, normalize=True)).abs().max() < 1e-6
    tokens = open_clip.get_tokenizer("ViT-B-32")(TEXTS)
    assert (backbone.encode_text(TEXTS) - model.encode_text(tokens, normalize=True)).abs().max() < 1e-6


def test_a_checkpoint_of_another_architecture_names_the_tensor(large: Path) -> None:
    with pytest.raises(
        ValueError, match=r"visual\.conv1\.weight has shape \(768, 3, 32, 32\), but the model needs \(768, 3, 16, 16\)"
    ):
        load(large, architecture="ViT-B-16")


@pytest.mark.parametrize("name", ["openclip", "hf-hub:"])
def test_a_hub_id_opens_from_the_cache(cache: Path, folders: dict[str, Path], name: str) -> None:
    place = into_cache(cache, "some/model")
    for file in folders["clip"].iterdir():
        shutil.copy(file, place)
    found = load("hf-hub:some/model") if name == "openclip" else load_backbone("hf-hub:some/model")
    expected = load_backbone(str(folders["clip"]))
    assert all(
        torch.equal(a, b) for a, b in zip(found.state_dict().values(), expected.state_dict().values(), strict=True)
    )
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE is set"):
        load("hf-hub:some/model", revision="other")


def test_a_file_opens_with_its_architecture(tmp_path: Path, folders: dict[str, Path], monkeypatch: Any) -> None:
    """A training checkpoint of open_clip, of a model that ran on several devices."""
    architecture = json.loads((folders["clip"] / "open_clip_config.json").read_text())["model_cfg"]
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "small", architecture)
    weights = load_file(folders["clip"] / "open_clip_model.safetensors")
    torch.save({"epoch": 3, "state_dict": {f"module.{n}": v for n, v in weights.items()}}, tmp_path / "epoch_3.pt")
    found, expected = load(tmp_path / "epoch_3.pt", architecture="small"), load(folders["clip"])
    assert all(
        torch.equal(a, b) for a, b in zip(found.state_dict().values(), expected.state_dict().values(), strict=True)
    )
    assert found.image_spec == expected.image_spec


def test_a_file_of_an_architecture_gets_the_image_settings_that_all_its_weights_share(
    tmp_path: Path, folders: dict[str, Path], monkeypatch: Any
) -> None:
    architecture = json.loads((folders["clip"] / "open_clip_config.json").read_text())["model_cfg"]
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-16-SigLIP", architecture)
    spec = load(folders["clip"] / "open_clip_model.safetensors", architecture="ViT-B-16-SigLIP").image_spec
    assert (spec.mean, spec.std, spec.fit) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "squash")


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_images_are_prepared_as_open_clip_does(kind: str, folders: dict[str, Path]) -> None:
    spec = load(folders[kind]).image_spec
    *_, theirs = open_clip.create_model_and_transforms(f"local-dir:{folders[kind]}")
    for size in ((spec.size, spec.size), (3 * spec.size, 2 * spec.size), (spec.size, 2 * spec.size + 40)):
        pixels = np.random.default_rng(0).integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
        found = normalise(to_tensor(evaluation_view(Opened(image), spec))[None], spec)[0]
        assert (found - theirs(image)).abs().mean() < 0.01  # a level of grey is about 0.015


# --- what cannot be opened ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("ViT-B-61/openai", r"no architecture 'ViT-B-61'; did you mean .*ViT-B-16"),
        ("ViT-B/61/openai", r"no architecture 'ViT-B-61'"),
        (
            "ViT-B-16/opnai",
            r"no weights 'opnai' of ViT-B-16; did you mean openai.* Known: openai, .*backbone\.path=FILE",
        ),
        ("ViT-B-16", r"no weights '' of ViT-B-16.* Known: openai"),
        ("ViT-S-16/openai", "Known: none"),
        ("ViT-B-16/openai", "HF_HUB_OFFLINE is set and the model is not in the cache"),
        ("hf-hub:some/model", "HF_HUB_OFFLINE is set and the model is not in the cache"),
        ("no/such/file.pt", "no architecture 'no-such'"),
    ],
)
def test_a_name_that_is_not_known_is_explained(cache: Path, path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(path)


@pytest.mark.slow  # the hub's client tries again for a while
def test_an_unreachable_hub_is_explained(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import conftest, os; del os.environ['HF_HUB_OFFLINE']\n"
        "from surefoot.backbones.base import load_backbone\n"
        "try:\n    load_backbone('openclip', options={'path': 'ViT-B-16/openai'})\n"
        "except ValueError as error:\n    print(error)\n"
    )
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)],
        env={
            **kept,
            "HF_HOME": str(tmp_path),
            "HF_ENDPOINT": "http://127.0.0.1:9",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert "'ViT-B-16/openai' cannot be opened" in done.stdout
    assert "the hub cannot be reached and the model is not in the cache" in done.stdout


def test_a_file_needs_its_architecture_and_nothing_else_has_one(folders: dict[str, Path], cache: Path) -> None:
    file = folders["clip"] / "open_clip_model.safetensors"
    with pytest.raises(ValueError, match=r"is a file.* give backbone\.architecture=NAME"):
        load(file)
    with pytest.raises(ValueError, match=r"backbone\.architecture=ViT-B-61: .* did you mean .*ViT-B-16"):
        load(file, architecture="ViT-B-61")
    with pytest.raises(ValueError, match=r"backbone\.architecture=ViT-B-16 says what is in a file, but .* is none"):
        load("ViT-B-16/openai", architecture="ViT-B-16")
    with pytest.raises(ValueError, match=r"open_clip_config\.json is no file with weights"):
        load(folders["clip"] / "open_clip_config.json", architecture="ViT-B-16")


@pytest.mark.parametrize(
    ("missing", "message"),
    [("open_clip_config.json", "has no open_clip_config.json"), ("open_clip_model.safetensors", "has no weights")],
)
def test_a_missing_file_is_named(folder: Path, missing: str, message: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(ValueError, match=message):
        load(folder)


def test_a_missing_tokenizer_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    copied = shutil.copytree(folders["siglip"], tmp_path / "siglip")
    (copied / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"has no tokenizer: none of tokenizer\.json"):
        load(copied)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"model_cfg": {"embed_dim": 3}}'])
def test_a_damaged_configuration_is_named(folder: Path, content: str) -> None:
    (folder / "open_clip_config.json").write_text(content)
    with pytest.raises(ValueError, match=r"open_clip_config\.json cannot be used"):
        load(folder)


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("text_cfg", {"pool_type": "mean"}, "pool_type='mean' in text_cfg.* there are argmax, eos, first, last"),
        ("text_cfg", {"hf_model_name": "roberta-base"}, "its text tower is 'roberta-base' of transformers"),
        ("text_cfg", {"no_such_option": 1}, "cannot build its configuration: .*no_such_option"),
        ("text_cfg", {"vocab_size": 100}, "writes the token 49407, but the text tower has 100"),
        ("text_cfg", {"tokenizer_kwargs": {"reduction_mask": "shuffle"}}, "its tokenizer does more"),
        ("vision_cfg", {"pool_type": "max"}, "cannot build its configuration"),
        ("vision_cfg", {"image_size": [32, 64]}, r"reads images of 32 x 64 pixels; only squares"),
        ("preprocess_cfg", {"resize_mode": "longest"}, "resize_mode='longest' .* is not supported"),
        ("vision_cfg", {"width": 72}, r"visual\.class_embedding has shape \(48,\), but the model needs \(72,\)"),
        ("text_cfg", {"layers": 3}, r"lacks weights: text\.transformer\.resblocks\.2\."),
        ("text_cfg", {"layers": 1}, r"has other weights: text\.transformer\.resblocks\.1\."),
    ],
)
def test_a_configuration_that_does_not_fit_is_explained(
    folder: Path, section: str, changes: dict[str, Any], message: str
) -> None:
    edit(folder, section, **changes)
    with pytest.raises(ValueError, match=message):
        load(folder)


class Code:
    """What a pickle may run when it is opened."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("opened"),))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol 4")
def test_a_checkpoint_that_can_run_code_is_refused(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (folder / "open_clip_model.safetensors").unlink()
    torch.save({"state_dict": {"a": Code()}}, folder / "open_clip_pytorch_model.bin")
    with pytest.raises(ValueError, match=r"holds more than tensors.* refused; save the state dict alone"):
        load(folder)
    (folder / "open_clip_pytorch_model.bin").write_bytes(pickle.dumps(Code()))
    with pytest.raises(ValueError, match=r"holds more than tensors.* refused"):
        load(folder)
    assert not (tmp_path / "opened").exists()


@pytest.mark.filterwarnings("ignore:'torch.load' received a zip file")
def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):  # torch.jit is no longer recommended
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "ViT-B-32.pt")
    with pytest.raises(ValueError, match=r"is a TorchScript archive, which is refused.* ARCHITECTURE/openai"):
        load(tmp_path / "ViT-B-32.pt", architecture="ViT-B-32")


def test_damaged_and_empty_files_are_named(folder: Path) -> None:
    file = folder / "open_clip_model.safetensors"
    content = file.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"\0" * 100):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"open_clip_model\.safetensors cannot be read"):
            load(folder)
    file.unlink()
    for damaged in ({}, [1], torch.zeros(3)):
        torch.save(damaged, folder / "open_clip_pytorch_model.bin")
        with pytest.raises(ValueError, match=r"open_clip_pytorch_model\.bin (cannot be read|lacks weights)"):
            load(folder)
