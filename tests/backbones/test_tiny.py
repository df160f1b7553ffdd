from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from surefoot.backbones.base import load_backbone
from surefoot.backbones.tiny import Tiny, WordTokenizer

COLOURS = {"red": (1.0, -1.0, -1.0), "green": (-1.0, 1.0, -1.0), "blue": (-1.0, -1.0, 1.0)}


def squares(count: int, *, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy images with a coloured square somewhere, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (count,), generator=generator)
    images = 0.3 * torch.randn(count, 3, 16, 16, generator=generator)
    corners = torch.randint(0, 8, (count, 2), generator=generator)
    for image, label, (x, y) in zip(images, labels.tolist(), corners.tolist(), strict=True):
        image[:, y : y + 8, x : x + 8] += torch.tensor(list(COLOURS.values())[label])[:, None, None]
    return images, labels


def test_equal_seeds_make_equal_weights_and_other_seeds_others() -> None:
    first, again, other = (Tiny(Tiny.Config(seed=seed)).load() for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.encode_text(["cat"]), other.encode_text(["cat"]))


def test_the_global_random_state_stays_as_it_was() -> None:
    state = torch.get_rng_state()
    Tiny(Tiny.Config()).load()
    assert torch.equal(torch.get_rng_state(), state)


def test_words_have_ids_without_regard_to_case_and_punctuation() -> None:
    tokens = WordTokenizer(8)
    assert tokens.encode(["A cat.", "a CAT!"])[0] == tokens.encode(["a cat"])[0]
    assert [len(row) for row in tokens.encode(["", "a cat"])] == [2, 4]


def test_it_learns_coloured_squares_from_captions_and_names_new_ones_zero_shot() -> None:
    backbone = load_backbone("tiny")
    images, labels = squares(128, seed=0)
    optimizer = torch.optim.AdamW(backbone.parameters(), lr=3e-3)
    sentences = [f"a {name} square" for name in COLOURS]
    for _ in range(40):
        logits = backbone.scale * backbone.image(images) @ backbone.encode_text(sentences).T
        optimizer.zero_grad()
        F.cross_entropy(logits, labels).backward()
        optimizer.step()
    unseen, answers = squares(128, seed=1)
    weights = backbone.zero_shot_weights([[sentence] for sentence in sentences])
    found = (backbone.image(unseen) @ weights.T).argmax(-1)
    assert (found == answers).float().mean() > 0.9


@pytest.mark.parametrize("options", [{}, {"seed": 5, "dim": 24, "size": 32, "context": 12}])
def test_a_saved_backbone_opens_again(tmp_path: Path, options: dict[str, object]) -> None:
    backbone = load_backbone("tiny", options=options)
    with torch.no_grad():
        backbone.log_scale.add_(0.5)
    backbone.save(tmp_path)
    again = load_backbone(str(tmp_path))
    images = torch.randn(3, 3, backbone.image_spec.size, backbone.image_spec.size)
    assert again.image_spec == backbone.image_spec
    assert torch.equal(again.image(images), backbone.image(images))
    assert torch.equal(again.encode_text(["a cat"]), backbone.encode_text(["a cat"]))
    assert torch.equal(again.scale, backbone.scale)


def test_a_damaged_folder_is_named(tmp_path: Path) -> None:
    load_backbone("tiny").save(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="does not hold a saved tiny backbone"):
        load_backbone(str(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="does not hold a saved tiny backbone"):
        load_backbone(str(tmp_path))
