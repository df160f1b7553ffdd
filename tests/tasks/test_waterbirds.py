import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from surefoot.evaluation.evaluate import measure
from surefoot.tasks.waterbirds import FOLDER, TRAINING, Waterbirds

GROUPS = ("landbird on land", "landbird on water", "waterbird on land", "waterbird on water")


@pytest.fixture
def folder(tmp_path, stand_in):
    stand_in("waterbirds").make(tmp_path)
    return tmp_path / FOLDER


def load(root, **options):
    return Waterbirds(Waterbirds.Config(root=str(root), **options)).load()


def change(folder, old, new, *, count=-1):
    file = folder / "metadata.csv"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, count))


def test_splits_labels_and_groups_are_those_of_the_metadata(folder):
    task = load(folder)
    assert task.classes == ("landbird", "waterbird")
    assert (task.home, task.shifts, task.group_names) == ("test", (), GROUPS)
    found = {name: list(task.group_counts(split).values()) for name, split in task.splits().items()}
    assert found == {"train": [6, 1, 1, 4], "validation": [2, 2, 2, 2], "test": [3, 3, 2, 2]}
    for split in task.splits().values():
        assert (split.labels == split.groups // 2).all()
        assert [path.split("/")[0][:3] for path in split.paths] == [f"{label + 1:03d}" for label in split.labels]
    assert task.train.source.read(task.train.paths[0]).startswith(b"\xff\xd8")


def test_the_root_may_hold_the_folder_of_the_archive(folder):
    assert load(folder.parent).fingerprint() == load(folder).fingerprint()


def test_prompts_are_those_of_star_ft_unless_given(folder):
    assert load(folder).templates == ("This is a picture of a {}.",)
    assert load(folder, templates=["a {}"]).templates == ("a {}",)


def test_another_build_than_the_published_is_noted(folder):
    (note,) = load(folder).notes
    assert note.startswith("training groups are [6, 1, 1, 4], not [3498, 184, 56, 1057] as published")


def published(root: Path) -> Path:
    """The published counts; the files are empty, as loading reads none."""
    counts = {(0, 0): (3498, 467, 2255), (0, 1): (184, 466, 2255), (1, 0): (56, 133, 642), (1, 1): (1057, 133, 642)}
    rows = ["img_id,img_filename,y,split,place,place_filename"]
    (root / "001.Black_footed_Albatross").mkdir()
    for (bird, place), sizes in counts.items():
        for split, size in enumerate(sizes):
            for _ in range(size):
                name = f"001.Black_footed_Albatross/{len(rows)}.jpg"
                (root / name).touch()
                rows.append(f"{len(rows)},{name},{bird},{split},{place},/o/ocean/1.jpg")
    (root / "metadata.csv").write_text("\n".join(rows))
    return root


def test_the_published_build_is_measured_as_in_the_literature(tmp_path):
    """Right: 40 of 41, 4 of 5, half and 5 of 6 of the groups. By hand, with the training counts 3498, 184, 56, 1057:

    (3498 * 40/41 + 184 * 0.8 + 56 * 0.5 + 1057 * 5/6) / 4795 = 4468.71626 / 4795 = 0.931953.
    """
    task = load(published(tmp_path))
    assert task.notes == ()
    assert task.group_counts(task.train) == TRAINING
    test = task.tests["test"]
    right = np.zeros(len(test), dtype=bool)
    for group, count in enumerate((2200, 1804, 321, 535)):
        right[np.flatnonzero(test.groups == group)[:count]] = True
    predicted = np.where(right, test.labels, 1 - test.labels)
    logits = torch.nn.functional.one_hot(torch.from_numpy(predicted), 2).float()
    found = measure(logits, test, task, temperature=1.0, bins=15)
    assert found["reweighted_accuracy"] == pytest.approx(0.931953, abs=1e-6)
    assert found["worst_group_accuracy"] == 0.5
    assert found["accuracy"] == pytest.approx(4860 / 5794)
    assert [found["groups"][name]["count"] for name in GROUPS] == [2255, 2255, 642, 642]


# Bad input


def test_nothing_there_says_what_is_missing_where_to_get_it_and_its_licence(tmp_path):
    message = r"(?s)lacks 2 of 2 places.*MISSING  metadata\.csv.*nlp\.stanford\.edu.*non-commercial"
    with pytest.raises(ValueError, match=message):
        load(tmp_path)
    with pytest.raises(ValueError, match=r"task\.root is empty"):
        load("")


def test_rows_without_their_image_stop_it_or_are_left_out(folder):
    lost = sorted(folder.glob("*/*.jpg"))[:2]
    for file in lost:
        file.unlink()
    first = lost[0].relative_to(folder)
    message = (
        rf"2 of 30 images are not in folder .*\(first: {first}, .*unpack the archive again, .*task\.on_missing=skip"
    )
    with pytest.raises(FileNotFoundError, match=message):
        load(folder)
    task = load(folder, on_missing="skip")
    assert sum(len(split) for split in task.splits().values()) == 28
    assert "2 of 30 images are not in" in task.notes[0]
    assert "their rows are not used" in task.notes[0]


def test_images_without_a_row_are_counted(folder):
    first = sorted(folder.glob("*/*.jpg"))[0]
    shutil.copy(first, first.with_name("zz_extra.jpg"))
    assert "1 images that lie beside those of" in load(folder).notes[0]
    assert "zz_extra.jpg" in load(folder).notes[0]


def test_an_unknown_background_is_named_with_its_row(folder):
    change(folder, ",0,0,0,/o", ",0,0,7,/o", count=1)
    with pytest.raises(
        ValueError, match=r"1 rows hold \['7'\] in the column 'place' \(first: row 1\); known are 0 \(land\)"
    ):
        load(folder)


def test_an_unknown_split_is_named(folder):
    change(folder, ",0,1,0,/o", ",0,3,0,/o")
    with pytest.raises(ValueError, match=r"2 rows hold \['3'\] in the column 'split' .*1 \(validation\)"):
        load(folder)


def test_a_column_that_is_missing_is_named(folder):
    change(folder, "img_filename", "img_filenames")
    with pytest.raises(ValueError, match=r"no column 'img_filename'; did you mean 'img_filenames'"):
        load(folder)


def test_a_file_cut_short_is_named(folder):
    lines = (folder / "metadata.csv").read_text().splitlines()
    (folder / "metadata.csv").write_text("\n".join(lines[:7]))
    with pytest.raises(ValueError, match=r"no row has the split validation or test \(train: 6 rows\)"):
        load(folder)


def test_a_class_in_the_test_only_is_named(folder):
    lines = (folder / "metadata.csv").read_text().splitlines()
    kept = [line for line in lines if line.split(",")[2:4] != ["1", "0"]]
    (folder / "metadata.csv").write_text("\n".join(kept))
    with pytest.raises(ValueError, match=r"1 of 2 classes have no training image.*waterbird"):
        load(folder)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_mark_and_another_separator_are_read(folder, encoding):
    expected = load(folder).fingerprint()
    text = (folder / "metadata.csv").read_text().replace(",", ";")
    (folder / "metadata.csv").write_text(text, encoding=encoding)
    assert load(folder).fingerprint() == expected
