import importlib.util
import json
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from surefoot.data.images import ImageSpec
from surefoot.data.prompts import DEFAULT_TEMPLATES, Prompts
from surefoot.data.scan import open_example
from surefoot.evaluation.evaluate import merged
from surefoot.run import about_data
from surefoot.tasks.imagenet import ALL, CLASSES, COUNTS, ImageNet, count_notes

SPEC = ImageSpec(8, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 8)
TEST_SETS = ("imagenet", *ALL)


def stand_in():
    file = Path(__file__).parents[1] / "stand_ins" / "imagenet.py"
    spec = importlib.util.spec_from_file_location("stand_in_of_imagenet", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SMALL = stand_in()


@pytest.fixture
def root(tmp_path):
    SMALL.make(tmp_path)
    return tmp_path


def load(root, **options):
    given = {"root": str(root), "class_names": str(root / "names.txt"), "validation_fraction": 0.2, **options}
    return ImageNet(ImageNet.Config(**given)).load()


# What is read


def test_home_is_val_and_validation_is_an_equal_part_of_each_class_of_train(root):
    task = load(root)
    assert (task.name, task.home, tuple(task.tests)) == ("imagenet", "imagenet", TEST_SETS)
    assert task.classes == SMALL.NAMES
    assert {name: len(split) for name, split in task.splits().items()} == {
        "train": 24, "validation": 6, "imagenet": 6, "imagenet_v2": 6, "imagenet_r": 2, "imagenet_a": 2,
        "imagenet_sketch": 6, "objectnet": 3,
    }  # fmt: skip
    assert np.bincount(task.validation.labels).tolist() == [1] * 6
    assert all(path.startswith("imagenet/train/") for path in (*task.train.paths, *task.validation.paths))
    assert all(path.startswith("imagenet/val/") for path in task.tests["imagenet"].paths)


def test_the_class_index_is_the_place_among_the_sorted_ids(root):
    task = load(root)
    for name in ("train", "validation", "imagenet", "imagenet_sketch"):
        split = task.splits()[name]
        assert [path.split("/")[-2] for path in split.paths] == [SMALL.IDS[label] for label in split.labels]


def test_the_part_held_back_follows_its_own_seed(root):
    assert load(root).fingerprint() == load(root).fingerprint() != load(root, split_seed=1).fingerprint()


def test_folders_of_v2_are_numbers_not_text(tmp_path):
    ids = [f"n{10_000_000 + i}" for i in range(12)]
    for id_ in ids:
        for part in ("train", "val"):
            folder = tmp_path / "imagenet" / part / id_
            folder.mkdir(parents=True)
            for i in range(3):
                (folder / f"{i}.JPEG").touch()
    for i in range(12):  # as text they would be sorted 0, 1, 10, 11, 2, ...
        folder = tmp_path / "imagenetv2-matched-frequency-format-val" / str(i)
        folder.mkdir(parents=True)
        (folder / f"image_of_{ids[i]}.jpeg").touch()
    (tmp_path / "names.txt").write_text("\n".join(f"animal {i}" for i in range(12)))
    split = load(tmp_path).tests["imagenet_v2"]
    assert split.labels.tolist() == list(range(12))
    assert [path.split("_")[-1] for path in split.paths] == [f"{id_}.jpeg" for id_ in ids]
    assert split.class_mask == ()


def test_v2_sorted_into_ids_by_the_user_is_read_by_its_ids(root):
    folder = root / "imagenetv2-matched-frequency-format-val"
    for i, id_ in enumerate(SMALL.IDS):
        (folder / str(i)).rename(folder / id_)
    assert load(root).tests["imagenet_v2"].labels.tolist() == list(range(6))


def test_in_r_and_a_only_the_classes_that_they_contain_count(root):
    task = load(root)
    assert task.tests["imagenet_r"].class_mask == (1, 4)
    assert task.tests["imagenet_r"].labels.tolist() == [1, 4]
    assert task.tests["imagenet_a"].class_mask == (0, 3)
    assert task.tests["imagenet_sketch"].class_mask == task.tests["imagenet"].class_mask == ()


def test_objectnet_counts_over_its_overlap_with_the_highest_of_the_classes_that_each_stands_for(root):
    split = load(root).tests["objectnet"]
    assert [path.split("/")[-2] for path in split.paths] == ["alarm_clock", "printer", "toilet_paper_roll"]
    assert split.labels.tolist() == [1, 3, 5]
    assert split.class_mask == (1, 3, 5)
    assert split.merged == ((1, 2),)
    logits = torch.tensor([[9.0, 1.0, 5.0, 4.0, 9.0, 3.0]])
    found = merged(logits, split)[:, list(split.class_mask)]
    assert found.tolist() == [[5.0, 4.0, 3.0]]


def test_two_pixels_of_objectnets_red_border_are_cut_away(root):
    split = pickle.loads(pickle.dumps(load(root).tests["objectnet"]))
    image = open_example(split, 1).pixels()
    assert image.size == (8, 6)
    assert image.getcolors() == [(48, (9, 9, 50))]
    Image.new("RGB", (4, 9)).save(root / split.paths[0])
    with pytest.raises(ValueError, match="4 x 9 pixels is nothing but border"):
        open_example(split, 0)


def test_an_incomplete_objectnet_keeps_its_class_mask(root):
    shutil.rmtree(root / "objectnet-1.0" / "images" / "printer")
    split = load(root).tests["objectnet"]
    assert (len(split), split.class_mask) == (2, (1, 3, 5))


@pytest.mark.parametrize("layout", ["ILSVRC/Data/CLS-LOC", "imagenet-1k", "."])
def test_other_usual_folder_names_are_found(root, layout):
    before = load(root).tests["imagenet"].labels.tolist()
    (root / layout).mkdir(parents=True, exist_ok=True)
    for part in ("train", "val"):
        (root / "imagenet" / part).rename(root / layout / part)
    (root / "imagenet-r").rename(root / "ImageNet-R")
    (root / "sketch").rename(root / "imagenet-sketch")
    task = load(root)
    assert task.tests["imagenet"].labels.tolist() == before
    assert tuple(task.tests) == TEST_SETS


def test_test_sets_may_be_left_out_and_those_not_there_are_noted(root):
    shutil.rmtree(root / "imagenet-a")
    (root / "objectnet-1.0" / "mappings" / "objectnet_to_imagenet_1k.json").unlink()
    task = load(root, tests=["imagenet_r", "imagenet_a", "objectnet"])
    assert tuple(task.tests) == ("imagenet", "imagenet_r")
    (note,) = [note for note in task.notes if "left out" in note]
    assert "imagenet_a (imagenet-a)" in note
    assert "objectnet (objectnet-1.0/mappings/objectnet_to_imagenet_1k.json)" in note
    assert "sketch" not in note
    with pytest.raises(ValidationError, match="imagenet_sketch"):
        load(root, tests=["imagenet_c"])


def test_places_list_everything_with_where_to_get_it(root):
    places = ImageNet(ImageNet.Config(root=str(root))).places()
    assert [place.path for place in places if place.needed] == ["imagenet/train", "imagenet/val"]
    assert {"imagenet-r", "imagenet-a", "sketch", "objectnet-1.0/images"} <= {place.path for place in places}
    assert all(place.get.startswith("https://") and place.licence for place in places)


# Names and templates


def test_without_names_the_error_tells_both_remedies(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)  # as if it were not installed
    with pytest.raises(ValueError, match=r"task\.class_names is empty.*n01440764.*names\.txt.*pip install"):
        load(root, class_names="")
    with pytest.raises(ValueError, match=r"task\.templates=open_clip.*pip install.*one a line"):
        load(root, templates="open_clip")


@pytest.fixture
def open_clip(tmp_path, monkeypatch):
    """A package with open_clip's file; importing it fails, as it does where torchvision is missing."""
    folder = tmp_path / "site" / "open_clip"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ImportError('torchvision')")
    (folder / "zero_shot_metadata.py").write_text(
        "OPENAI_IMAGENET_TEMPLATES = (\n    lambda c: f'a bad photo of a {c}.',\n    lambda c: f'itap of my {c}.',\n)\n"
        'IMAGENET_CLASSNAMES = (\n    "tench", "missile", "clock", "missile",\n    "jack-o\'-lantern", "bolete",\n)\n'
        "raise RuntimeError('this file is to be read, not run')\n"
    )
    monkeypatch.syspath_prepend(str(folder.parent))
    return folder / "zero_shot_metadata.py"


def test_names_and_templates_come_from_an_installed_open_clip_which_is_not_imported(root, open_clip):
    task = load(root, class_names="", templates="open_clip")
    assert "open_clip" not in sys.modules
    assert task.templates == ("a bad photo of a {}.", "itap of my {}.")
    assert task.classes[:3] == ("tench", "missile (n02708093)", "clock")
    assert task.names[1] == task.names[3] == ("missile",)  # in sentences, as published
    assert Prompts.from_task(task).class_sentences()[1][0] == "a bad photo of a missile."
    names, sentences = about_data(task)["notes"][:2]
    assert names.startswith("class names: zero_shot_metadata.py (SHA-256 ")
    assert "two classes each are called missile" in names
    assert sentences.startswith("templates: 2 of zero_shot_metadata.py")


def test_an_open_clip_of_another_shape_is_named(root, open_clip):
    open_clip.write_text("IMAGENET_CLASSNAMES = load()\n")
    with pytest.raises(ValueError, match="sets no list IMAGENET_CLASSNAMES"):
        load(root, class_names="")
    open_clip.write_text("IMAGENET_CLASSNAMES = ('a', name)\n")
    with pytest.raises(ValueError, match="line 1 is neither a text nor a lambda"):
        load(root, class_names="")
    open_clip.write_text("IMAGENET_CLASSNAMES = ('tench', 'shark')\n")
    with pytest.raises(
        ValueError, match=r"names 2 classes, but there are 6 class folders; give task\.class_names=FILE"
    ):
        load(root, class_names="")


def test_the_default_templates_are_ours_and_the_run_records_it(root, open_clip):
    task = load(root)
    assert task.templates == DEFAULT_TEMPLATES
    assert task.names == ()
    assert task.notes[0].startswith("class names: names.txt (SHA-256 ")
    assert task.notes[1] == f"templates: {len(DEFAULT_TEMPLATES)} of Surefoot's own"


def test_names_may_be_a_json_list_or_a_map_by_id(root):
    (root / "list.json").write_text(json.dumps(list(SMALL.NAMES)))
    by_id = dict(zip(reversed(SMALL.IDS), reversed(SMALL.NAMES), strict=True)) | {"n99999999": "unused"}
    (root / "map.json").write_text(json.dumps(by_id))
    (root / "bom.txt").write_text("\ufeff" + "\r\n".join(SMALL.NAMES) + "\r\n\r\n", encoding="utf-8")
    for name in ("list.json", "map.json", "bom.txt"):
        assert load(root, class_names=str(root / name)).classes == SMALL.NAMES


def test_templates_may_come_from_a_file(root):
    (root / "templates.txt").write_text("a photo of a {}.\nart of a {}.\n")
    assert load(root, templates=str(root / "templates.txt")).templates == ("a photo of a {}.", "art of a {}.")


@pytest.mark.parametrize(
    ("option", "content", "message"),
    [
        ("class_names", b"tench\nshark\n", "names 2 classes, but there are 6 class folders"),
        ("class_names", b"tench\n\nclock\nprinter\nsite\npaper\n", "none of them empty"),
        ("class_names", b"caf\xe9", "no text in UTF-8"),
        ("class_names.json", b"{", "not valid JSON"),
        ("class_names.json", b'{"n01440764": "tench"}', r"names no n02708093 \(5 of 6 classes are missing\)"),
        ("class_names.json", b'{"0": ["n01440764", "tench"]}', "list of texts or a map"),
        ("templates", b"a photo\n", "must hold"),
        ("templates.json", b'{"a": "a {}"}', "expected a list of templates"),
    ],
)
def test_a_file_that_does_not_fit_is_named_with_its_option(root, option, content, message):
    name, _, suffix = option.partition(".")
    file = root / f"given.{suffix or 'txt'}"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        load(root, **{name: str(file)})
    assert str(file) in str(error.value)


def test_a_file_that_is_not_there_is_named_with_its_option(root):
    with pytest.raises(ValueError, match=r"task\.class_names=.*nowhere\.txt cannot be read"):
        load(root, class_names=str(root / "nowhere.txt"))


# Counts


def test_counts_of_whole_sets_are_not_noted_and_others_are():
    assert count_notes(COUNTS) == []
    found = {**COUNTS, "objectnet": (8_790, 100), "imagenet_v2": (9_999, CLASSES)}
    v2, objectnet = count_notes(found)
    assert v2 == (
        "imagenet_v2: 9999 images of 1000 classes; the whole set has 10000 of 1000, so this copy is incomplete or "
        "another one"
    )
    assert "the whole set has 18574 of 113" in objectnet
    assert "23,700 of its 50,000 files" in objectnet


def test_a_part_of_the_classes_is_noted_once_unless_counts_are_not_checked(root):
    assert [note for note in load(root).notes if "counts are not checked" in note] == [load(root).notes[-1]]
    assert not any("counts" in note for note in load(root, check_counts=False).notes)


def test_shifts_of_classes_that_are_not_trained_on_are_noted(root):
    shutil.copytree(root / "imagenet-r" / SMALL.IDS[1], root / "imagenet-r" / "n09999999")
    task = load(root)
    assert len(task.tests["imagenet_r"]) == 2
    assert "imagenet_r: 1 folders that are no training classes are not used (n09999999)" in task.notes


# Bad input


@pytest.mark.parametrize(("value", "message"), [("", "task.root is empty"), ("nowhere", "no such folder")])
def test_a_missing_root_is_named(value, message):
    with pytest.raises(ValueError, match=message):
        ImageNet(ImageNet.Config(root=value)).load()


def test_what_must_be_there_is_told_with_where_to_get_it(root):
    shutil.rmtree(root / "imagenet" / "val")
    with pytest.raises(ValueError, match=r"(?s)lacks 1 of .*MISSING  imagenet/val.*image-net\.org"):
        load(root)


def test_a_flat_val_folder_says_what_is_expected(root):
    for folder in sorted((root / "imagenet" / "val").iterdir()):
        for file in folder.iterdir():
            file.rename(root / "imagenet" / "val" / file.name)
        folder.rmdir()
    with pytest.raises(ValueError, match=r"imagenet/val: expected a folder for each class.*found no folder"):
        load(root)


def test_classes_of_val_alone_and_half_unpacked_folders_are_named(root):
    shutil.rmtree(root / "imagenet" / "train" / SMALL.IDS[2])
    with pytest.raises(ValueError, match=r"1 class folders stand in one of.*n03196217 only in imagenet/val"):
        load(root)
    (root / "imagenet" / "train" / SMALL.IDS[2]).mkdir()
    with pytest.raises(ValueError, match=r"no image .* lies in 1 class folders \(imagenet/train/n03196217\)"):
        load(root)


def test_folders_that_are_no_ids_are_named(root):
    (root / "imagenet" / "train" / SMALL.IDS[0]).rename(root / "imagenet" / "train" / "tench")
    with pytest.raises(ValueError, match=r"its WordNet id such as n01440764, found \['tench'\]"):
        load(root)


def test_v2_and_objectnet_need_all_classes(root):
    v2 = root / "imagenetv2-matched-frequency-format-val"
    (v2 / "0").rename(v2 / "999")
    with pytest.raises(ValueError, match=r"indices up to 999, but there are 6.*leave imagenet_v2 out of task\.tests"):
        load(root)
    assert "imagenet_v2" not in load(root, tests=[name for name in ALL if name != "imagenet_v2"]).tests
    lines = {str(i): i % 6 for i in range(1000)}
    (root / "objectnet-1.0" / "mappings" / "pytorch_to_imagenet_2012_id.json").write_text(json.dumps(lines))
    with pytest.raises(ValueError, match=r"counts 1000 ImageNet classes, but the training folders are 6"):
        load(root, tests=["objectnet"])


def test_a_wrapped_test_set_says_what_was_expected(root):
    inner = root / "sketch" / "sketch"
    inner.mkdir()
    for id_ in SMALL.IDS:
        (root / "sketch" / id_).rename(inner / id_)
    with pytest.raises(ValueError, match=r"no folder is called like a training class.*\['sketch'\].*Move"):
        load(root)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("folder_to_objectnet_label.json", "{", "not valid JSON"),
        ("folder_to_objectnet_label.json", "[]", "expected a JSON object"),
        ("folder_to_objectnet_label.json", "{}", "has no folder in folder_to_objectnet_label"),
        ("objectnet_to_imagenet_1k.json", '{"Printer": "fax"}', "stands for 'fax', which is not one line"),
        ("pytorch_to_imagenet_2012_id.json", json.dumps({str(i): i + 1 for i in range(6)}), "'5': 6 is no line"),
        ("imagenet_to_label_2012_v2", "printer\n" * 6, "not one line of imagenet_to_label"),
    ],
)
def test_mappings_that_do_not_fit_together_are_named(root, file, content, message):
    (root / "objectnet-1.0" / "mappings" / file).write_text(content)
    with pytest.raises(ValueError, match=message):
        load(root)


def test_objectnet_without_its_folders_says_what_was_expected(root):
    images = root / "objectnet-1.0" / "images"
    shutil.rmtree(images)
    (images / "pizza").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"expected folders such as alarm_clock, found \['pizza'\]"):
        load(root)
