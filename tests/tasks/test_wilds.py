import numpy as np
import pytest
import torch
from pydantic import ValidationError

from surefoot.evaluation.evaluate import measure
from surefoot.tasks.wilds import Wilds


@pytest.fixture
def cameras(tmp_path, stand_in):
    return stand_in("wilds").make(tmp_path)


@pytest.fixture
def land(tmp_path, stand_in):
    return stand_in("wilds").make_fmow(tmp_path)


def load(options, **others):
    return Wilds(Wilds.Config(**{**options, **others})).load()


def sizes(task):
    return {name: len(split) for name, split in task.splits().items()}


def rewrite(file, old, new, count=-1):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, count))


# iWildCam


def test_cameras_train_on_known_places_and_are_tested_on_new_ones(cameras):
    task = load(cameras)
    assert task.name == "iwildcam"
    assert task.classes == ("empty", "tayassu pecari", "panthera onca")
    assert sizes(task) == {"train": 6, "validation": 3, "id_test": 3, "ood_test": 4}
    assert (task.home, task.shifts, task.group_names, task.notes) == ("id_test", ("ood_test",), (), ())
    assert task.train.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert {name: split.domain for name, split in task.splits().items()} == {
        "train": "id",
        "validation": "id",
        "id_test": "id",
        "ood_test": "ood",
    }
    assert task.tests["ood_test"].paths[0] == "0000000e-21bc-11ea-a13a-137349068a90.jpg"  # after 6 + 3 + 3 + 2 rows
    assert task.train.source.read(task.train.paths[0]).startswith(b"\xff\xd8")


def test_the_ood_validation_is_never_read(cameras, tmp_path):
    unread = [f"{number:08x}-21bc-11ea-a13a-137349068a90.jpg" for number in (12, 13)]
    splits = load(cameras).splits().values()
    assert not {path for split in splits for path in split.paths} & set(unread)


def test_names_may_come_from_another_file(cameras, tmp_path):
    (tmp_path / "english.csv").write_text("y,name\n0,nothing\n1,white-lipped peccary\n2,jaguar\n")
    (tmp_path / "categories.csv").unlink()
    task = load(cameras, categories=str(tmp_path / "english.csv"))
    assert task.classes == ("nothing", "white-lipped peccary", "jaguar")


def test_a_class_without_a_name_is_named(cameras, tmp_path):
    rewrite(tmp_path / "categories.csv", "102,2,panthera onca\n", "")
    with pytest.raises(ValueError, match=r"categories\.csv has no name for \['2'\] of the classes"):
        load(cameras)


def test_a_class_in_the_test_only_is_noted(cameras, tmp_path):
    rewrite(tmp_path / "metadata.csv", ",train,0,2,", ",train,0,1,")
    assert load(cameras).notes == ("1 of 3 classes have no training image (panthera onca)",)


def test_an_unknown_split_of_the_cameras_is_named(cameras, tmp_path):
    rewrite(tmp_path / "metadata.csv", ",id_val,", ",validation,")
    with pytest.raises(
        ValueError, match=r"3 rows hold \['validation'\] in the column 'split' .*known are train, id_val"
    ):
        load(cameras)


# FMoW


def test_land_is_parted_by_year_and_region(land):
    task = load(land)
    assert (task.name, task.classes) == ("fmow", ("airport", "crop_field", "zoo"))
    assert task.names[1] == ("crop field",)
    assert sizes(task) == {"train": 6, "validation": 3, "id_test": 5, "ood_test": 6}
    assert task.group_names == ("Africa", "Americas", "Europe")
    # USA, FRA, KEN, a country without region, an unknown one, USA again
    assert task.train.groups.tolist() == [1, 2, 0, -1, -1, 1]
    assert task.group_counts(task.tests["ood_test"]) == {"Africa": 1, "Americas": 2, "Europe": 1}


def test_an_image_is_called_by_its_row_with_sequestered_rows_counted(land):
    task = load(land)
    assert task.train.paths == tuple(f"rgb_img_{row}.png" for row in range(6))
    # rows: 6 + 1 train, 3 + 2 val, 5 test, 2 seq, 1 test of 2015, then 5 of 2016 and 1 of 2017
    assert task.tests["ood_test"].paths == tuple(f"rgb_img_{row}.png" for row in range(20, 26))


def test_years_between_and_late_training_rows_are_not_used(land):
    used = {path for split in load(land).splits().values() for path in split.paths}
    assert not used & {"rgb_img_6.png", "rgb_img_10.png", "rgb_img_11.png", "rgb_img_17.png", "rgb_img_19.png"}


def test_the_worst_region_leaves_other_countries_out(land):
    task = load(land)
    test = task.tests["ood_test"]  # USA, FRA, KEN, none, none, USA
    predicted = test.labels.copy()
    wrong = np.array([0, 3, 4])  # one of two in America, and both without a region
    predicted[wrong] = (predicted[wrong] + 1) % 3
    logits = torch.nn.functional.one_hot(torch.from_numpy(predicted), 3).float()
    found = measure(logits, test, task, temperature=1.0, bins=15)
    assert found["accuracy"] == 0.5
    assert found["worst_group_accuracy"] == 0.5
    assert {name: group["accuracy"] for name, group in found["groups"].items()} == {
        "Africa": 1.0,
        "Americas": 0.5,
        "Europe": 1.0,
    }


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "rgb_metadata.csv",
            "2010-01-12T09:23:34Z",
            "12.1.2010",
            r"row 1 has the timestamp '12\.1\.2010'; expected 20",
        ),
        ("rgb_metadata.csv", "timestamp", "time", r"no column 'timestamp'; did you mean 'time'"),
        ("rgb_metadata.csv", "\ntrain,", "\ntrian,", r"7 rows hold \['trian'\]"),
        ("country_code_mapping.csv", "alpha-3", "alpha-2", r"country_code_mapping\.csv has no column 'alpha-3'"),
    ],
)
def test_mistakes_in_the_metadata_of_land_are_named(land, tmp_path, file, old, new, message):
    rewrite(tmp_path / file, old, new)
    with pytest.raises(ValueError, match=message):
        load(land)


# Both


def test_rows_without_their_image_stop_it_or_are_left_out(land, tmp_path):
    (tmp_path / "images" / "rgb_img_20.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 20 images are not in .*rgb_img_20\.png.*task\.on_missing=skip"):
        load(land)
    assert len(load(land, on_missing="skip").tests["ood_test"]) == 5


def test_another_data_set_in_the_folder_is_told_what_is_missing(land, tmp_path):
    with pytest.raises(ValueError, match=r"holds FMoW's rgb_metadata\.csv; set task\.dataset=fmow"):
        load(land, dataset="iwildcam")
    (tmp_path / "rgb_metadata.csv").unlink()
    with pytest.raises(ValueError, match=r"(?s)lacks 3 of 3 places.*MISSING  metadata\.csv.*wilds\.stanford\.edu"):
        load(land, dataset="iwildcam")
    with pytest.raises(ValueError, match=r"(?s)lacks 1 of 3 places.*MISSING  rgb_metadata\.csv.*FMoW Challenge"):
        load(land)


def test_only_two_data_sets_are_known():
    with pytest.raises(ValidationError, match="'iwildcam' or 'fmow'"):
        Wilds.Config(dataset="fmoww")


def test_prompts_are_those_of_the_data_set_unless_given(land):
    assert load(land).templates[0] == "a satellite image of a {}."
    assert load(land, templates=["a {}"]).templates == ("a {}",)


def test_images_without_a_row_are_counted_but_not_those_of_unused_rows(land, tmp_path):
    assert load(land).notes == ()
    (tmp_path / "images" / "rgb_img_99.png").touch()
    assert load(land).notes[0].startswith("1 images that lie beside those of")
