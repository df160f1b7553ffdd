"""What is read of an old file, and that nothing in it runs unless that is allowed."""

import enum
import os
import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPModel

from surefoot.converting import convert
from surefoot.converting.reading import read_state

State = dict[str, Tensor]


class Hostile:
    """Leaves a file with the number of the process that opened it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"import os, pathlib; pathlib.Path({str(self.mark)!r}).write_text(str(os.getpid()))",)


@pytest.mark.parametrize("old_format", [False, True])
def test_a_hostile_pickle_runs_nothing_without_consent(old_format: bool, tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "old.pt"
    state = {"visual.conv1.weight": torch.zeros(1), "extra": Hostile(mark)}
    torch.save(state, path, _use_new_zipfile_serialization=not old_format)
    with pytest.raises(ValueError, match=r"holds whole objects.* refused.*--allow-pickle"):
        read_state(path)
    assert not mark.exists()
    with pytest.warns(UserWarning, match="opened with --allow-pickle: any code in it runs"):
        found = read_state(path, allow_pickle=True)
    assert found.keys() == {"visual.conv1.weight"}
    assert int(mark.read_text()) != os.getpid()  # another process


def test_a_plain_pickle_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    path.write_bytes(pickle.dumps(Hostile(tmp_path / "mark")))
    with pytest.raises(ValueError, match=r"old\.pt"):
        read_state(path)
    assert not (tmp_path / "mark").exists()


@pytest.fixture
def project() -> Iterator[types.ModuleType]:
    """The sources of an old project, `src.models`, there only while a file is written."""
    parent, module = types.ModuleType("src"), types.ModuleType("src.models")

    class Mode(enum.Enum):
        BICUBIC = "bicubic"

    class Compose:
        def __init__(self, steps: list[object]) -> None:
            self.steps = steps

    class Encoder(nn.Module):
        pass

    class Classifier(nn.Module):
        pass

    def to_rgb(image: object) -> object:
        return image

    for thing in (Mode, Compose, Encoder, Classifier, to_rgb):
        thing.__module__, thing.__qualname__ = "src.models", thing.__name__
        setattr(module, thing.__name__, thing)
    sys.modules |= {"src": parent, "src.models": module}
    yield module
    del sys.modules["src"], sys.modules["src.models"]


def write_objects(project: Any, state: State, path: Path) -> None:
    """WiSE-FT's `torch.save(model)`: an encoder with its transforms, and a head."""
    encoder, model = project.Encoder(), project.Classifier()
    encoder.model = nn.Module()
    for name, value in state.items():
        *parents, last = name.split(".")
        place = encoder.model
        for part in parents:
            if part not in place._modules:
                place.add_module(part, nn.Module())
            place = place._modules[part]
        place.register_parameter(last, nn.Parameter(value))
    encoder.train_preprocess = project.Compose([project.Mode.BICUBIC, project.to_rgb])
    model.image_encoder, model.classification_head = encoder, nn.Linear(24, 3)
    torch.save(model, path)


def test_a_whole_object_is_opened_without_the_sources_of_its_project(
    project: Any, openai_state: State, tuned: CLIPModel, clip_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "old.pt"
    write_objects(project, openai_state, path)
    with pytest.raises(ValueError, match="holds whole objects"):
        convert(path, like=str(clip_folder), output=tmp_path / "new")
    with pytest.warns(UserWarning, match="any code in it runs"):
        made = convert(path, like=str(clip_folder), output=tmp_path / "new", allow_pickle=True)
    assert made.notes == ("its head of 3 classes was left out; name them with --classes to keep it",)
    for name, value in CLIPModel.from_pretrained(tmp_path / "new").state_dict().items():
        assert torch.equal(value, tuned.state_dict()[name]), name


def test_an_object_that_holds_no_weights_says_so(tmp_path: Path) -> None:
    torch.save({"a": Hostile(tmp_path / "mark")}, tmp_path / "old.pt")
    with (
        pytest.warns(UserWarning, match="any code"),
        pytest.raises(ValueError, match=r"could not be opened with --allow-pickle: .*holds no weights by name"),
    ):
        read_state(tmp_path / "old.pt", allow_pickle=True)


def test_a_torchscript_archive_is_explained(tmp_path: Path) -> None:
    traced = torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2))
    torch.jit.save(traced, tmp_path / "ViT-B-32.pt")
    with pytest.raises(ValueError, match=r"is a TorchScript archive.*openai/clip-vit-base-patch32.*torch\.jit\.load"):
        read_state(tmp_path / "ViT-B-32.pt")


def test_state_dicts_are_found_inside_training_checkpoints(tmp_path: Path) -> None:
    weights = {"a": torch.ones(2)}
    for number, content in enumerate((weights, {"epoch": 1, "state_dict": weights}, {"model": weights})):
        torch.save(content, tmp_path / f"{number}.pt")
        assert read_state(tmp_path / f"{number}.pt").keys() == {"a"}
    save_file(weights, tmp_path / "a.safetensors")
    assert torch.equal(read_state(tmp_path / "a.safetensors")["a"], weights["a"])


def test_what_is_no_file_of_weights_is_named(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    torch.save({"a": torch.zeros(300)}, tmp_path / "cut.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:700])
    (tmp_path / "cut.safetensors").write_bytes(b"1234")
    (tmp_path / "empty.pt").touch()
    (tmp_path / "page.pt").write_text("<!doctype html><title>Not found</title>")
    (tmp_path / "pointer.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    torch.save({"a": torch.zeros(300)}, tmp_path / "older.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "older.pt").write_bytes((tmp_path / "older.pt").read_bytes()[:-1201])
    for name, message in (
        ("tensor.pt", "holds no weights by name but Tensor"),
        ("cut.pt", "damaged, or no file of PyTorch"),
        ("cut.safetensors", "is damaged"),
        ("empty.pt", "damaged, or no file of PyTorch"),
        ("page.pt", "damaged, or no file of PyTorch"),
        ("pointer.pt", "damaged, or no file of PyTorch"),
        ("older.pt", "damaged, or no file of PyTorch"),
        ("missing.pt", "is no file"),
    ):
        with pytest.raises(ValueError, match=rf"{name}.*{message}"):
            read_state(tmp_path / name)
