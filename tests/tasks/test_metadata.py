import pytest
from pydantic import ValidationError

from surefoot.tasks.metadata import Metadata


@pytest.fixture
def options(tmp_path, stand_in):
    return stand_in("metadata").make(tmp_path)


def load(options, **others):
    return Metadata(Metadata.Config(**{**options, **others})).load()


def rewrite(tmp_path, old, new, count=-1):
    file = tmp_path / "metadata.csv"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, count))


def counts(task):
    return {name: list(task.group_counts(split).values()) for name, split in task.splits().items()}


def test_columns_of_their_usual_names_are_found(options, tmp_path):
    task = load(options)
    assert (task.name, task.classes, task.home) == (tmp_path.name, ("cat", "dog"), "test")
    assert task.group_names == (
        "y=0, place=indoors",
        "y=0, place=outdoors",
        "y=1, place=indoors",
        "y=1, place=outdoors",
    )
    assert counts(task) == {"train": [5, 1, 1, 5], "validation": [2, 2, 2, 2], "test": [2, 2, 2, 2]}
    assert task.notes == ()


def test_one_column_alone_makes_groups(options):
    task = load(options, groups=["place"])
    assert task.group_names == ("place=indoors", "place=outdoors")
    assert counts(task)["train"] == [6, 6]


def test_columns_may_have_any_names(options, tmp_path):
    expected = load(options).fingerprint()
    rewrite(tmp_path, "file_name,y,split,place", "Bild,Tier,Teil,Ort")
    found = load(options, path="Bild", label="Tier", split="Teil", groups=["Tier", "Ort"])
    assert found.fingerprint() == expected


def test_without_classes_the_labels_or_a_classes_yaml_name_them(options, tmp_path):
    assert load(options, classes=[]).classes == ("0", "1")
    (tmp_path / "classes.yaml").write_text("classes: [kitten, puppy]")
    assert load(options, classes=[]).classes == ("kitten", "puppy")
    assert load(options).classes == ("cat", "dog")


def test_the_file_itself_may_be_the_root_and_images_lie_elsewhere(options, tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "metadata.csv").rename(tmp_path / "tables" / "animals.tsv")
    file = tmp_path / "tables" / "animals.tsv"
    file.write_text(file.read_text().replace(",", "\t"))
    task = load(options, root=str(file), images=str(tmp_path))
    assert (task.name, len(task.train)) == ("animals", 12)


def test_without_a_split_column_images_are_dealt_and_it_is_noted(options, tmp_path):
    rewrite(tmp_path, ",split,", ",part,")
    task = load(options, validation_fraction=0.25, test_fraction=0.25)
    assert {name: len(split) for name, split in task.splits().items()} == {"train": 12, "validation": 8, "test": 8}
    assert [note.split(":")[0] for note in task.notes] == ["no test split was given", "no validation split was given"]


def test_a_row_without_a_value_has_no_group(options, tmp_path):
    rewrite(tmp_path, "0,train,indoors", "0,train,", count=1)
    assert load(options).train.groups.tolist().count(-1) == 1


# Bad input


def test_groups_must_be_said(options):
    with pytest.raises(ValueError, match=r"task\.groups is empty; .*has \['file_name', 'y', 'split', 'place'\]"):
        load(options, groups=[])


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"groups": ["plase"]}, r"task\.groups=plase: .* has no column 'plase'; did you mean 'place'\?"),
        ({"label": "why"}, r"task\.label=why: .* has no column 'why'"),
        ({"split": "splits"}, r"task\.split=splits: .* did you mean 'split'\?"),
        ({"classes": ["cat"]}, r"14 labels lie outside the list of 1 classes: \['1'\]"),
        ({"classes": ["cat", "dog", "eel"]}, r"1 of 3 classes have no training image.*eel"),
    ],
)
def test_wrong_options_are_named(options, others, message):
    with pytest.raises(ValueError, match=message):
        load(options, **others)


def test_a_misspelt_group_shows_as_one_without_training_images(options, tmp_path):
    rewrite(tmp_path, "1,test,outdoors", "1,test,outdors", count=1)
    assert load(options).notes == ("groups without a training image: 1 (y=1, place=outdors (1 elsewhere))",)


def test_an_unknown_split_is_named(options, tmp_path):
    rewrite(tmp_path, "0,val,", "0,eval,")
    with pytest.raises(ValueError, match=r"4 rows hold \['eval'\] in the column 'split' \(first: row 6\)"):
        load(options)


def test_rows_and_files_are_matched(options, tmp_path):
    (tmp_path / "pictures" / "000.png").rename(tmp_path / "pictures" / "new.png")
    with pytest.raises(
        FileNotFoundError, match=r"1 of 28 images are not in .*pictures/000\.png.*task\.images; .*=skip"
    ):
        load(options)
    task = load(options, on_missing="skip")
    assert len(task.train) == 11
    assert "first: pictures/000.png); their rows are not used" in task.notes[0]
    assert task.notes[1].startswith("1 images that lie beside those of")
    assert "pictures/new.png" in task.notes[1]


def test_all_images_missing_is_an_error_also_when_some_may_be(options, tmp_path):
    with pytest.raises(FileNotFoundError, match="28 of 28 images are not in"):
        load(options, images=str(tmp_path / "pictures"), on_missing="skip")


@pytest.mark.parametrize(
    ("root", "message"),
    [("", "task.root is empty"), ("nowhere", r"there is no file nowhere"), ("pictures/000.png", r"is a \.png file")],
)
def test_a_root_that_is_no_table_is_named(options, tmp_path, monkeypatch, root, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load(options, root=root)


def test_text_in_another_encoding_is_named(options, tmp_path):
    text = (tmp_path / "metadata.csv").read_text().replace("outdoors", "draußen")
    (tmp_path / "metadata.csv").write_text(text, encoding="cp1252")
    with pytest.raises(ValueError, match=r"metadata\.csv is not in UTF-8: line 11 holds the byte 0xdf"):
        load(options)


def test_fractions_must_leave_something():
    with pytest.raises(ValidationError, match="leave nothing to train on"):
        Metadata.Config(validation_fraction=0.5, test_fraction=0.5)
