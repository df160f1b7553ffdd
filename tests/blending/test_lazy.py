from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from surefoot.backbones.base import load_backbone
from surefoot.backbones.tiny import Tiny, TinyBackbone
from surefoot.blending.lazy import Only, stored, stored_classifier
from surefoot.classifier import Classifier
from surefoot.data.prompts import Prompts

PROMPTS = Prompts(("cat", "dog", "hen"), ("a {}",), ("a {}",))


@pytest.fixture(params=["tiny", "clip"])
def saved(request: pytest.FixtureRequest, clip_folder: Path, tmp_path: Path) -> Path:
    backbone = load_backbone("tiny" if request.param == "tiny" else str(clip_folder))
    Classifier.zero_shot(backbone, PROMPTS).save_pretrained(tmp_path / "classifier")
    return tmp_path / "classifier"


def test_stored_weights_are_those_of_the_opened_classifier(saved: Path) -> None:
    classifier = Classifier.from_pretrained(saved)
    weights, state = stored_classifier(saved, classifier), classifier.state_dict()
    assert not isinstance(weights, dict)
    assert len(weights) == len(list(weights))
    assert set(state) - set(weights) <= {"backbone.bias"}  # which never changes
    assert "head.weight" in weights
    assert "head.wait" not in weights
    for name in weights:
        assert torch.equal(weights[name], state[name])


def test_a_tensor_is_read_when_it_is_asked_for_and_never_kept(tmp_path: Path) -> None:
    save_file({"a": torch.tensor([1.0])}, tmp_path / "x.safetensors")
    weights = stored(tmp_path / "x.safetensors")
    assert weights["a"] is not weights["a"]
    save_file({"a": torch.tensor([2.0])}, tmp_path / "x.safetensors")
    assert weights["a"] == 2


class Elsewhere(TinyBackbone):
    """Would save its weights under other names than it does."""

    @property
    def file_names(self) -> dict[str, str]:
        return {name: f"elsewhere.{name}" for name in self.state_dict()}


def test_a_backbone_that_saves_its_weights_elsewhere_is_opened_whole(tmp_path: Path) -> None:
    Classifier.zero_shot(load_backbone("tiny"), PROMPTS).save_pretrained(tmp_path / "classifier")
    like = Classifier.zero_shot(Elsewhere(Tiny.Config()), PROMPTS)
    weights = stored_classifier(tmp_path / "classifier", like)
    assert weights.keys() == like.state_dict().keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in like.state_dict().items())


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.tensor([1.0])}, path)
    weights = stored(path)
    path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"x\.safetensors cannot be read"):
        weights["a"]
    with pytest.raises(ValueError, match=r"x\.safetensors cannot be read"):
        stored(path)


def test_only_one_entry_is_there(tmp_path: Path) -> None:
    save_file({"a": torch.tensor([1.0]), "b": torch.tensor([2.0])}, tmp_path / "x.safetensors")
    only = Only(stored(tmp_path / "x.safetensors"), "b")
    assert (list(only), len(only), only["b"].item()) == (["b"], 1, 2)
    with pytest.raises(KeyError):
        only["a"]
