import shutil

import pytest
from pydantic import ValidationError

from surefoot.tasks.domainnet import DomainNet


@pytest.fixture
def root(tmp_path, stand_in):
    stand_in("domainnet").make(tmp_path)
    return tmp_path


@pytest.fixture
def bare(tmp_path, stand_in):
    stand_in("domainnet").make(tmp_path, lists=False)
    return tmp_path


def load(root, **options):
    return DomainNet(DomainNet.Config(root=str(root), **options)).load()


def sizes(task):
    return {name: len(split) for name, split in task.splits().items()}


def test_it_trains_on_real_and_is_tested_on_the_test_lists_of_all(root):
    task = load(root)
    assert task.classes == ("aircraft_carrier", "cello", "cell_phone")
    assert (task.home, task.shifts) == ("real", ("painting", "clipart", "infograph", "sketch"))
    assert sizes(task) == {
        "train": 15, "validation": 3, "real": 9, "painting": 9, "clipart": 9, "infograph": 9, "sketch": 9
    }  # fmt: skip
    numbers = {path[-10:-4] for split in task.tests.values() for path in split.paths}
    assert numbers == {"000007", "000008", "000009"}
    for name, split in task.splits().items():
        domain = name if name in task.tests else "real"
        assert {path.split("/")[0] for path in split.paths} == {domain}
        assert [task.classes[label] for label in split.labels] == [path.split("/")[1] for path in split.paths]


def test_validation_comes_from_the_training_list_by_class_and_never_from_the_test(root):
    task = load(root)
    assert sorted(task.validation.labels.tolist()) == [0, 1, 2]
    assert not set(task.validation.paths) & (set(task.train.paths) | set(task.tests["real"].paths))
    assert "3 of 18 training images were taken for it" in " ".join(task.notes)
    assert load(root, split_seed=1).fingerprint() != task.fingerprint()


def test_the_labels_of_the_lists_count_the_classes_as_here(root):
    lines = (root / "real_train.txt").read_text().splitlines()
    found = {line.split("/")[1]: int(line.split()[1]) for line in lines}
    assert [found[name] for name in load(root).classes] == [0, 1, 2]


def test_sentences_keep_underscores_unless_told_otherwise(root):
    assert load(root).names[0] == ("aircraft_carrier",)
    assert load(root, names="spaces").names[0] == ("aircraft carrier",)
    assert load(root, names="spaces").classes == load(root).classes


def test_another_home_and_other_shifts(root):
    task = load(root, home="sketch", shifts=["real"])
    assert (task.home, task.shifts, task.train.domain) == ("sketch", ("real",), "sketch")


def test_without_lists_home_is_dealt_and_shifts_are_tested_whole(bare):
    task = load(bare, shifts=["sketch"])
    assert sizes(task) == {"train": 18, "validation": 3, "real": 6, "sketch": 27}
    assert sum("no test split was given" in note for note in task.notes) == 1


def test_fewer_classes_than_published_are_noted(root):
    assert load(root).notes[0] == "3 of 345 classes are there"


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"home": "reel"}, r"task\.home: 'reel' is no domain; did you mean real\? Known: real, painting"),
        ({"shifts": ["scetch"]}, r"task\.shifts: 'scetch' is no domain; did you mean sketch\?"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "leave nothing to train on"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValidationError, match=message):
        DomainNet.Config(**options)


def test_a_domain_that_is_not_there_is_told_with_where_to_get_it(root):
    shutil.rmtree(root / "sketch")
    with pytest.raises(ValueError, match=r"(?s)lacks 1 of 10 places.*MISSING  sketch: .*ai\.bu\.edu/M3SDA"):
        load(root)
    assert load(root, shifts=["painting"]).shifts == ("painting",)


def test_one_list_alone_is_named(root):
    (root / "clipart_test.txt").unlink()
    with pytest.raises(ValueError, match=r"has clipart_train\.txt alone; get the other list too"):
        load(root)


def test_images_of_the_lists_that_are_missing_stop_it_or_are_left_out(root):
    (root / "real" / "cello" / "real_002_000001.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 135 images are not in .*real_002_000001\.jpg.*on_missing=skip"):
        load(root)
    assert sum(sizes(load(root, on_missing="skip")).values()) == 17 + 45


def test_images_that_no_list_has_are_counted(root):
    shutil.copy(root / "real/cello/real_002_000001.jpg", root / "real/cello/real_002_000099.jpg")
    assert "1 images that lie beside those of" in load(root).notes[1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("real/cello", r"line 19 is 'real/cello'; expected real/<class>/<image> and a label"),
        ("clipart/cello/x.jpg 1", "line 19 is 'clipart/cello/x.jpg 1'"),
        ("real/cello/x.jpg 2", "line 19 gives cello the label 2, which another line does not"),
        ("real/zebra/x.jpg 1", "line 19 gives zebra the label 1"),
    ],
)
def test_a_wrong_line_of_a_list_is_named(root, line, message):
    with (root / "real_train.txt").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=message):
        load(root)


def test_an_empty_list_is_named(root):
    (root / "real_train.txt").write_text("")
    with pytest.raises(ValueError, match=r"real_train\.txt is empty"):
        load(root)


def test_another_layout_is_named(bare):
    (bare / "real" / "train").mkdir()
    shutil.move(bare / "real" / "cello", bare / "real" / "train" / "cello")
    with pytest.raises(ValueError, match=r"expected real/<class>/\*\.jpg, found real/train/cello/real_002_000001\.jpg"):
        load(bare)


def test_a_domain_without_images_is_named(bare):
    shutil.rmtree(bare / "sketch")
    (bare / "sketch").mkdir()
    with pytest.raises(ValueError, match=r"expected sketch/<class>/\*\.jpg, found no image"):
        load(bare)


def test_a_class_that_home_lacks_is_named(bare):
    shutil.rmtree(bare / "real" / "cello")
    with pytest.raises(ValueError, match=r"1 of 3 classes have no training image in the home domain: \['cello'\]"):
        load(bare)
