from pathlib import Path

import pytest
import torch

from surefoot.backbones._remembered import WORTH
from surefoot.backbones.base import Backbone, load_backbone

WORDS = [f"word{i}" for i in range(60)]
SENTENCES = [[f"{word} number {i}" for i in range(20)] for word in WORDS]  # 1,200


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SUREFOOT_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    monkeypatch.setenv("SUREFOOT_CACHE", "off")
    return load_backbone("tiny").zero_shot_weights(SENTENCES)


def files(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file())


def broken(*_: object) -> torch.Tensor:
    raise AssertionError("the class weights were computed again")


def test_what_is_remembered_is_bit_for_bit_what_is_computed(plain: torch.Tensor, cache: Path) -> None:
    first = load_backbone("tiny").zero_shot_weights(SENTENCES)
    assert len(files(cache)) == 1
    again = load_backbone("tiny").zero_shot_weights(SENTENCES)
    assert torch.equal(first, plain)
    assert torch.equal(again, plain)


def test_what_is_remembered_is_not_computed_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_backbone("tiny").zero_shot_weights(SENTENCES)
    monkeypatch.setattr(Backbone, "_zero_shot_weights", broken)
    assert torch.equal(load_backbone("tiny").zero_shot_weights(SENTENCES), first)


def test_other_weights_other_sentences_and_their_order_have_files_of_their_own(cache: Path) -> None:
    backbone = load_backbone("tiny")
    backbone.zero_shot_weights(SENTENCES)
    backbone.zero_shot_weights(SENTENCES[::-1])
    backbone.zero_shot_weights([*SENTENCES[:-1], [*SENTENCES[-1][:-1], "another"]])
    merged = [[*SENTENCES[0], *SENTENCES[1]], *SENTENCES[2:]]
    backbone.zero_shot_weights(merged)
    with torch.no_grad():
        backbone.text.output_weight[0, 0] += 1e-3
    backbone.zero_shot_weights(SENTENCES)
    load_backbone("tiny", options={"context": 12}).zero_shot_weights(SENTENCES)
    assert len(files(cache)) == 6


def test_what_the_weights_do_not_show_counts_too(cache: Path, clip_folder: Path) -> None:
    backbone = load_backbone(str(clip_folder))
    first = backbone.zero_shot_weights(SENTENCES)
    for layer in backbone.text.text_model.encoder.layers:  # type: ignore[union-attr]
        layer.mlp.activation_fn = torch.nn.GELU()
    assert not torch.allclose(backbone.zero_shot_weights(SENTENCES), first, atol=1e-4)
    assert len(files(cache)) == 2


@pytest.mark.parametrize("damage", ["empty", "cut", "other"])
def test_a_damaged_file_is_made_anew(plain: torch.Tensor, cache: Path, damage: str) -> None:
    from safetensors.torch import save_file

    load_backbone("tiny").zero_shot_weights(SENTENCES)
    (path,) = files(cache)
    whole = path.read_bytes()
    if damage == "other":
        save_file({"weights": torch.ones(60, 32)}, path, metadata={"key": "of something else"})
    else:
        path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"")
    assert torch.equal(load_backbone("tiny").zero_shot_weights(SENTENCES), plain)
    assert path.read_bytes() == whole


def test_few_sentences_are_not_kept(cache: Path) -> None:
    load_backbone("tiny").zero_shot_weights(SENTENCES[: WORTH // 20 - 1])
    assert files(cache) == []


def test_a_cache_that_cannot_be_written_is_told_of(
    plain: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SUREFOOT_CACHE", str(tmp_path / "file"))
    assert torch.equal(load_backbone("tiny").zero_shot_weights(SENTENCES), plain)
    assert "SUREFOOT_CACHE=off does without" in capsys.readouterr().err
