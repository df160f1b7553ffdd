import pytest

from surefoot.data.manifest import Table
from surefoot.data.sheet import KNOWN_SPLITS, Sheet, class_list, need_all_splits, read_sheet
from surefoot.data.sources import FolderSource

SHEET = Sheet("m.csv", {"filename": ["./a.png", "b\\c.png"], "y": ["0", "2"], "place": ["", "1"]})


def test_a_column_that_is_not_there_is_told_with_the_nearest_and_all():
    with pytest.raises(ValueError, match=r"task\.groups=plac: m\.csv has no column 'plac'; did you mean 'place'\?"):
        SHEET.column("plac", option="task.groups")
    with pytest.raises(ValueError, match=r"no column 'zzz'\. It has \['filename', 'y', 'place'\]"):
        SHEET.column("zzz")


def test_the_first_of_several_names_counts():
    assert SHEET.first_of(("img_filename", "filename")) == "filename"
    with pytest.raises(ValueError, match=r"none of the columns \['split'\]; name the one .* with task\.split=COLUMN"):
        SHEET.first_of(("split",), option="task.split")


def test_paths_have_slashes_and_no_dots():
    assert SHEET.paths("filename") == ["a.png", "b/c.png"]


def test_an_empty_cell_is_counted_and_located():
    with pytest.raises(ValueError, match=r"1 rows have nothing in the column 'place' \(first: row 1\)"):
        SHEET.filled("place")


def test_values_become_words_and_others_are_named_with_their_row():
    assert Sheet("m.csv", {"y": ["1", "0"]}).words("y", {"0": "cat", "1": "dog"}) == ["dog", "cat"]
    message = r"1 rows hold \['2'\] in the column 'y' \(first: row 2\); known are 0 \(cat\), 1 \(dog\)"
    with pytest.raises(ValueError, match=message):
        SHEET.words("y", {"0": "cat", "1": "dog"})


def test_splits_are_numbers_or_words():
    found = Sheet("m.csv", {"split": ["0", "val", "test", "2", "1"]}).words("split", KNOWN_SPLITS)
    assert found == ["train", "validation", "test", "test", "validation"]


def test_a_file_without_rows_is_named(tmp_path):
    (tmp_path / "m.csv").write_text("filename,y\n")
    with pytest.raises(ValueError, match=r"m\.csv has no rows"):
        read_sheet(tmp_path / "m.csv")


def test_sentences_may_call_a_class_something_else():
    assert class_list(("a", "b"), called=("an A", "a B")).called("synonyms") == (("an A",), ("a B",))
    assert class_list(("a", "b")).called("synonyms") == (("a",), ("b",))


def test_a_split_without_rows_is_named(tmp_path):
    names, none = ["a", "b"], ["", ""]
    table = Table(FolderSource(tmp_path), "m.csv", names, names, ["train", "test"], none, none, class_list(names))
    with pytest.raises(ValueError, match=r"m\.csv: no row has the split validation \(train: 1 rows, test: 1 rows\)"):
        need_all_splits(table)
