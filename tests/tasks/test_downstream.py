import re
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError

from surefoot.data.downstream_sets import SETS
from surefoot.data.prompts import has_slot
from surefoot.tasks.downstream import Downstream

PAGE = Path(__file__).parents[2] / "docs" / "tasks" / "downstream.md"


def put(root, *files):
    for place, file in enumerate(files):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 5), (place % 256, len(file), 0)).save(root / file)


def write(file, *lines):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")


def load(root, dataset, **options):
    return Downstream(Downstream.Config(root=str(root), dataset=dataset, **options)).load()


def labelled(task):
    """Split -> the path and the class of each image."""
    return {
        name: dict(zip(split.paths, (task.classes[label] for label in split.labels), strict=True))
        for name, split in task.splits().items()
    }


@pytest.mark.parametrize("dataset", SETS)
def test_every_set_can_be_folders_of_splits_and_classes(tmp_path, dataset):
    for part, count in (("train", 3), ("val", 1), ("test", 2)):
        put(tmp_path / dataset, *(f"{part}/{name}/{i}.png" for name in ("one_thing", "other") for i in range(count)))
    task = load(tmp_path, dataset)
    assert (task.name, task.home) == (dataset, "test")
    assert {name: len(split) for name, split in task.splits().items()} == {"train": 6, "validation": 2, "test": 4}
    assert task.templates == SETS[dataset].templates
    assert task.notes == (f"{dataset} has {SETS[dataset].classes} classes, this copy has 2",)
    assert task.classes == ("one thing", "other")


@pytest.mark.parametrize("dataset", SETS)
def test_every_set_has_several_templates_with_one_slot(dataset):
    templates = SETS[dataset].templates
    assert len(set(templates)) >= 3  # they serve as contexts too
    assert all(has_slot(template) for template in templates)
    assert SETS[dataset].metric in ("accuracy", "class_mean_accuracy")


def test_templates_may_be_given(tmp_path):
    put(tmp_path / "dtd", *(f"{part}/{name}/{i}.png" for part in ("train", "test") for name in "ab" for i in range(3)))
    assert load(tmp_path, "dtd", templates=["a {}."]).templates == ("a {}.",)
    with pytest.raises(ValidationError, match="exactly once"):
        load(tmp_path, "dtd", templates=["a thing."])


# As the authors pack them


def test_oxford_pets(tmp_path):
    root = tmp_path / "oxford-iiit-pet"
    train = [f"{breed}_{i}" for breed in ("Abyssinian", "american_bulldog") for i in range(1, 5)]
    test = ["Abyssinian_201", "american_bulldog_7"]
    put(root, *(f"images/{name}.jpg" for name in (*train, *test, "Abyssinian_999")))
    write(root / "annotations/trainval.txt", "#Image CLASS-ID SPECIES BREED ID", *(f"{name} 1 1 1" for name in train))
    write(root / "annotations/test.txt", *(f"{name} 2 2 1" for name in test))
    task = load(tmp_path, "oxford_pets")
    found = labelled(task)
    assert task.classes == ("Abyssinian", "american bulldog")
    assert found["test"] == {
        "images/Abyssinian_201.jpg": "Abyssinian", "images/american_bulldog_7.jpg": "american bulldog",
    }  # fmt: skip
    assert {*found["train"], *found["validation"]} == {f"images/{name}.jpg" for name in train}
    assert len(found["validation"]) == 2  # one of each class
    assert "no validation split was given" in task.notes[0]


def test_food101(tmp_path):
    root = tmp_path / "food-101"
    dishes = [f"{dish}/{number}" for dish in ("apple_pie", "beef_tartare") for number in (10, 11, 12)]
    put(root, *(f"images/{dish}.jpg" for dish in dishes))
    write(root / "meta/train.txt", *dishes[:2], *dishes[3:5])
    write(root / "meta/test.txt", dishes[2], dishes[5])
    found = labelled(load(tmp_path, "food101"))
    assert found["test"] == {"images/apple_pie/12.jpg": "apple pie", "images/beef_tartare/12.jpg": "beef tartare"}
    assert len(found["train"]) == len(found["validation"]) == 2


def test_dtd_has_its_own_validation_split(tmp_path):
    textures = [f"{texture}/{texture}_000{i}.jpg" for texture in ("banded", "zigzagged") for i in (1, 2, 3)]
    put(tmp_path / "dtd", *(f"images/{texture}" for texture in textures))
    for place, part in enumerate(("train", "val", "test")):
        write(tmp_path / f"dtd/labels/{part}1.txt", textures[place], textures[place + 3])
    task = load(tmp_path, "dtd")
    assert labelled(task)["validation"] == {
        "images/banded/banded_0002.jpg": "banded", "images/zigzagged/zigzagged_0002.jpg": "zigzagged",
    }  # fmt: skip
    assert task.notes == ("dtd has 47 classes, this copy has 2",)


def test_fgvc_aircraft_has_names_with_spaces_and_slashes(tmp_path):
    root = tmp_path / "fgvc-aircraft-2013b"
    put(root, *(f"data/images/{number:07d}.jpg" for number in range(6)))
    for place, part in enumerate(("train", "val", "test")):
        lines = (f"{place:07d} 707-320", f"{place + 3:07d} F/A-18")
        write(root / f"data/images_variant_{part}.txt", *lines)
    task = load(tmp_path, "fgvc_aircraft")
    assert task.classes == ("707-320", "F/A-18")
    assert labelled(task)["test"] == {"data/images/0000002.jpg": "707-320", "data/images/0000005.jpg": "F/A-18"}


@pytest.mark.parametrize("below", ["", "SUN397/"])
def test_sun397_names_scenes_from_their_folders(tmp_path, below):
    scenes = [f"/{scene}/sun_{i}.jpg" for scene in ("a/abbey", "c/church/indoor") for i in range(3)]
    put(tmp_path / "sun397", *(f"{below}{scene[1:]}" for scene in scenes))
    write(tmp_path / "sun397/Training_01.txt", *scenes[:2], *scenes[3:5])
    write(tmp_path / "sun397/Testing_01.txt", scenes[2], scenes[5])
    task = load(tmp_path, "sun397")
    assert task.classes == ("abbey", "indoor church")
    assert labelled(task)["test"] == {
        f"{below}a/abbey/sun_2.jpg": "abbey", f"{below}c/church/indoor/sun_2.jpg": "indoor church",
    }  # fmt: skip


def test_caltech101_has_no_splits_and_a_folder_of_no_class(tmp_path):
    folder = tmp_path / "caltech101" / "101_ObjectCategories"
    put(
        folder,
        *(f"{name}/image_{i:04d}.jpg" for name in ("BACKGROUND_Google", "gerenuk", "wild_cat") for i in range(10)),
    )
    task = load(tmp_path, "caltech101")
    assert task.classes == ("gerenuk", "wild cat")
    assert {name: len(split) for name, split in task.splits().items()} == {"train": 14, "validation": 2, "test": 4}
    assert [note.split(":")[0] for note in task.notes[:2]] == [
        "no test split was given", "no validation split was given",
    ]  # fmt: skip
    assert "the images of BACKGROUND_Google, which is no class, are left out" in task.notes


@pytest.mark.parametrize(
    ("dataset", "file"),
    [("flowers102", "imagelabels.mat"), ("stanford_cars", "devkit/cars_meta.mat"), ("cifar10", "data_batch_1")],
)
def test_labels_that_are_not_read_are_explained_unless_the_images_are_sorted(tmp_path, dataset, file):
    put(tmp_path / dataset, "jpg/image_00001.jpg")
    write(tmp_path / dataset / file, "")
    with pytest.raises(ValueError, match=r"a format that is not read.*train/<class>/.*manifest\.csv"):
        load(tmp_path, dataset)
    (tmp_path / dataset / "jpg/image_00001.jpg").unlink()
    put(
        tmp_path / dataset, *(f"{part}/{name}/{i}.png" for part in ("train", "test") for name in "ab" for i in range(3))
    )
    assert load(tmp_path, dataset).classes == ("a", "b")


# Bad input


def test_the_data_set_must_be_named_and_a_typo_gets_a_suggestion(tmp_path):
    with pytest.raises(ValueError, match=r"task\.dataset is empty.*caltech101, cifar10"):
        load(tmp_path, "")
    with pytest.raises(ValidationError, match="did you mean oxford_pets"):
        load(tmp_path, "Oxford-Pet")


def test_a_missing_folder_is_told_with_where_to_get_it(tmp_path):
    with pytest.raises(ValueError, match=r"(?s)MISSING  oxford_pets: breeds.*class_mean_accuracy.*CC BY-SA 4\.0"):
        load(tmp_path, "oxford_pets")
    with pytest.raises(ValueError, match="no such folder"):
        load(tmp_path / "nowhere", "oxford_pets")


def test_half_of_a_download_is_named(tmp_path):
    root = tmp_path / "oxford_pets"
    put(root, "images/Abyssinian_1.jpg")
    with pytest.raises(ValueError, match=r"annotations/trainval\.txt cannot be read .*comes with the data set"):
        load(tmp_path, "oxford_pets")
    write(root / "annotations/trainval.txt", "Abyssinian_1 1 1 1", "Bengal_1 6 1 2", "Bengal_2 6 1 2")
    write(root / "annotations/test.txt", "Bengal_3 6 1 2")
    with pytest.raises(FileNotFoundError, match=r"3 of the 4 images listed.*first: images/Bengal_1\.jpg"):
        load(tmp_path, "oxford_pets")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["Abyssinian_1 1 1 1", "../Bengal_2 1"], "line 2: '../Bengal_2 1' is not understood"),
        (["Abyssinian"], "line 1: 'Abyssinian' is not understood"),
        (["Bengal_1 6", "Bengal_1 6"], "name images/Bengal_1.jpg 2 times"),
    ],
)
def test_lists_that_are_wrong_are_named(tmp_path, lines, message):
    put(tmp_path / "oxford_pets", "images/Bengal_1.jpg")
    write(tmp_path / "oxford_pets/annotations/trainval.txt", *lines)
    write(tmp_path / "oxford_pets/annotations/test.txt", "Bengal_3 1 1 1")
    with pytest.raises(ValueError, match=re.escape(message)):
        load(tmp_path, "oxford_pets")


def test_a_list_that_is_no_text_is_named(tmp_path):
    (tmp_path / "oxford_pets" / "annotations").mkdir(parents=True)
    (tmp_path / "oxford_pets/annotations/trainval.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match=r"trainval\.txt is no text in UTF-8"):
        load(tmp_path, "oxford_pets")


def test_fractions_must_leave_something():
    with pytest.raises(ValidationError, match="leave nothing to train on"):
        Downstream.Config(validation_fraction=0.5, test_fraction=0.5)


def test_the_page_tells_classes_and_metric_of_every_set():
    page = PAGE.read_text(encoding="utf-8")
    for name, known in SETS.items():
        assert re.search(rf"^\| `{name}` \|.*\| {known.classes} \|.*`{known.metric}`", page, re.MULTILINE), name
