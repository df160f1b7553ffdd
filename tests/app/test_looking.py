"""What the app shows of an image, without its interface: probabilities, contexts, nearest examples, and refusals."""

import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from surefoot.app.features import split_features
from surefoot.app.looking import Lens, lens
from surefoot.classifier import Classifier
from surefoot.data.batch import DataConfig, evaluation_batches
from surefoot.data.images import TooManyPixels, UnreadableImage
from surefoot.data.prompts import Prompts
from surefoot.run import load_task, train


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, quick: dict[str, Any]) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("lens")
    for name in ("zero_shot", "fine_tune", "flyp"):
        train(folder / name / "seed-0", {**quick, "method": name, "engine.lr": 0.01})
    return {name: folder / name / "seed-0" for name in ("zero_shot", "fine_tune", "flyp")}


@pytest.fixture(scope="module")
def both(runs: dict[str, Path]) -> Lens:
    return lens([runs["fine_tune"], runs["flyp"]])


@pytest.fixture
def moved(tmp_path: Path, squares: Path, quick: dict[str, Any]) -> tuple[Path, Path]:
    """A run, and its own copy of the data."""
    data = tmp_path / "data"
    shutil.copytree(squares, data)
    run = train(tmp_path / "fine_tune" / "seed-0", {**quick, "task": str(data)})
    return run.folder, data


def red(squares: Path) -> Path:
    return sorted((squares / "test").rglob("*.png"))[-1]


def test_probabilities_are_those_that_predict_gives(both: Lens, runs: dict[str, Path], squares: Path) -> None:
    path = red(squares)
    answer = both.look(path.read_bytes())
    assert [model.name for model in answer.models] == ["zero_shot", "fine_tune/seed-0", "flyp/seed-0"]
    for model, name in zip(answer.models, ("zero_shot", "fine_tune", "flyp"), strict=True):
        (expected,) = Classifier.from_pretrained(runs[name] / "classifier").predict([path], top_k=3)
        shown = dict(zip(answer.classes, model.probabilities, strict=True))
        assert shown == pytest.approx(dict(expected.top), abs=1e-6)
        assert model.label == expected.label
        assert model.calibrated
    with Image.open(path) as picture:
        assert (answer.width, answer.height) == picture.size


def test_the_zero_shot_model_beside_a_run_is_the_run_of_zero_shot(
    both: Lens, runs: dict[str, Path], squares: Path
) -> None:
    given = lens([runs["flyp"], runs["zero_shot"]])
    assert [model.name for model in given.models] == ["zero_shot", "flyp/seed-0"]
    content = red(squares).read_bytes()
    answers = (both.look(content), given.look(content))
    one, other = (dict(zip(answer.contexts, answer.models[0].contexts, strict=True)) for answer in answers)
    assert answers[0].models[0].temperature == pytest.approx(answers[1].models[0].temperature, rel=1e-6)
    shared = set(one) & set(other)
    assert len(shared) >= 5  # those that zero-shot finds most probable
    assert [one[context] for context in shared] == pytest.approx([other[context] for context in shared], abs=1e-6)


def test_contexts_are_the_softmax_of_scaled_cosines_in_float64(
    both: Lens, runs: dict[str, Path], squares: Path, quick: dict[str, Any]
) -> None:
    task = load_task(quick["task"])
    start = Classifier.from_pretrained(runs["zero_shot"] / "classifier").backbone
    texts = start.zero_shot_weights(Prompts.from_task(task).context_sentences()).double().numpy()  # (M, D)
    split = task.tests["test"]
    answer = both.look(red(squares).read_bytes())
    (batch,) = evaluation_batches(split, start.image_spec, DataConfig(workers=0))
    place = next(i for i, path in enumerate(split.paths) if str(red(squares)).endswith(path))
    for model, name in zip(answer.models, runs, strict=True):
        tower = Classifier.from_pretrained(runs[name] / "classifier").backbone.image
        with torch.no_grad():
            feature = tower.raw(batch.images[place : place + 1])[0].double().numpy()
        logits = start.scale.item() * texts @ (feature / np.linalg.norm(feature))
        expected = np.exp(logits - logits.max())
        expected /= expected.sum()
        of = [list(dict.fromkeys(task.contexts)).index(context) for context in answer.contexts]
        assert model.contexts == pytest.approx(expected[of], abs=1e-5)
        assert set(np.argsort(-expected)[:5]) <= set(of)


@pytest.mark.parametrize("by", ["zero_shot", "flyp/seed-0"])
def test_the_nearest_example_of_a_training_image_is_itself(runs: dict[str, Path], squares: Path, by: str) -> None:
    shown = lens([runs["flyp"]], nearest_by=by)
    path = sorted((squares / "train").rglob("*.png"))[7]
    answer = shown.look(path.read_bytes())
    assert answer.nearest_by == by
    first, second = answer.nearest[:2]
    assert str(path).endswith(first.path)
    assert first.similarity == pytest.approx(1, abs=1e-5)
    assert first.similarity > second.similarity
    assert first.label == path.parent.name
    assert first.picture.startswith("data:image/png;base64,")


def test_a_tower_is_a_choice_among_those_shown(runs: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="nearest_by=flyp: there is no such model; choose one of zero_shot, flyp/s"):
        lens([runs["flyp"]], nearest_by="flyp")


def test_features_are_computed_once_for_the_same_content(
    quick: dict[str, Any], runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUREFOOT_CACHE", str(tmp_path / "cache"))
    backbone = Classifier.from_pretrained(runs["flyp"] / "classifier").backbone
    split, data = load_task(quick["task"]).train, DataConfig(workers=0)
    first = split_features(backbone, split, data)
    (kept,) = (tmp_path / "cache" / "features").iterdir()
    stamp = kept.stat().st_mtime_ns
    assert torch.equal(split_features(backbone, split, data), first)
    copy = tmp_path / "copy"
    shutil.copytree(quick["task"], copy)
    assert torch.equal(split_features(backbone, load_task(str(copy)).train, data), first)
    assert [file.stat().st_mtime_ns for file in (tmp_path / "cache" / "features").iterdir()] == [stamp]
    other = Classifier.from_pretrained(runs["zero_shot"] / "classifier").backbone
    assert not torch.equal(split_features(other, split, data), first)
    reversed_ = split.subset(range(len(split))[::-1])
    assert torch.allclose(split_features(backbone, reversed_, data), first.flip(0), atol=1e-6)
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 3


def test_large_splits_are_searched_evenly(quick: dict[str, Any]) -> None:
    train = load_task(quick["task"]).train
    assert train.evenly(len(train)) is train
    some = train.evenly(4)
    assert len(some) == 4
    assert (some.paths[0], some.paths[-1]) == (train.paths[0], train.paths[-1])


def test_where_the_data_are_gone_the_rest_is_shown_and_a_sentence_says_so(
    moved: tuple[Path, Path], squares: Path
) -> None:
    run, data = moved
    whole = lens([run]).look(red(squares).read_bytes())
    shutil.rmtree(data)
    left = lens([run])
    answer = left.look(red(squares).read_bytes())
    assert (answer.nearest, answer.contexts) == ((), ())
    assert [model.calibrated for model in answer.models] == [False, True]
    assert dict(zip(answer.classes, answer.models[1].probabilities, strict=True)) == pytest.approx(
        dict(zip(whole.classes, whole.models[1].probabilities, strict=True)), abs=1e-6
    )
    assert answer.models[0].label == whole.models[0].label
    assert "cannot be read" in left.notes[0]
    assert "nearest training examples and contexts are not shown" in left.notes[1]
    assert "not calibrated" in left.notes[2]


def test_where_the_data_changed_no_example_is_shown(moved: tuple[Path, Path], squares: Path) -> None:
    run, data = moved
    sorted((data / "train").rglob("*.png"))[0].unlink()
    left = lens([run])
    assert "changed since fine_tune/seed-0 was trained" in left.notes[0]
    assert left.look(red(squares).read_bytes()).nearest == ()


def test_an_example_that_vanishes_later_is_left_out(moved: tuple[Path, Path], squares: Path) -> None:
    run, data = moved
    shown = lens([run])
    content = red(squares).read_bytes()
    gone = shown.look(content).nearest[0].path
    (data / gone).unlink()
    assert gone not in [near.path for near in shown.look(content).nearest]


def test_runs_of_other_classes_backbones_or_data_are_refused(
    runs: dict[str, Path], quick: dict[str, Any], tmp_path: Path, squares: Path
) -> None:
    fewer = tmp_path / "fewer"
    shutil.copytree(squares, fewer)
    for folder in fewer.glob("*/blue"):
        shutil.rmtree(folder)
    other = train(tmp_path / "other" / "seed-0", {**quick, "task": str(fewer), "method": "zero_shot"})
    with pytest.raises(ValueError, match=r"cannot be shown side by side: classes is \['blue'.*same classes"):
        lens([runs["flyp"], other.folder])
    with pytest.raises(ValueError, match="given more than once"):
        lens([runs["flyp"], runs["flyp"]])
    with pytest.raises(ValueError, match=r"results.json is missing"):
        lens([tmp_path])


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_what_is_no_image_is_refused(both: Lens, content: bytes) -> None:
    with pytest.raises(UnreadableImage, match="image"):
        both.look(content)


def test_too_many_pixels_are_refused_before_decoding(both: Lens) -> None:
    file = io.BytesIO()
    Image.new("RGB", (40, 30)).save(file, "PNG")
    small = replace(both, data=both.data.model_copy(update={"max_pixels": 1000}))
    assert both.look(file.getvalue()).width == 40
    with pytest.raises(TooManyPixels, match=r"40 x 30 pixels are more than data\.max_pixels=1000"):
        small.look(file.getvalue())
