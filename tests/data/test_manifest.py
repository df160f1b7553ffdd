"""The layouts, tables and mistakes that users make are tested through the task: tests/tasks/test_folder.py."""

import csv
import io
import tempfile
import zipfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.data.manifest import read_classes, read_table

name = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="/\\"), min_size=1)
words = name.filter(lambda text: text.strip(". ") == text)


@given(st.lists(st.tuples(words, st.sampled_from(["train", "val", "test"]), words), min_size=1, max_size=8))
@settings(deadline=None, max_examples=30)
def test_a_table_survives_the_round_trip_through_csv(rows):
    text = io.StringIO()
    csv.writer(text).writerows(
        [["path", "label", "split", "group"], *([f"{i}.png", *row] for i, row in enumerate(rows))]
    )
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("manifest.csv", text.getvalue())
        for i in range(len(rows)):
            file.writestr(f"{i}.png", b"")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "round.zip"
        path.write_bytes(archive.getvalue())
        table = read_table(str(path))
    assert list(zip(table.label, table.split, table.group, strict=True)) == [
        (label, {"val": "validation"}.get(split, split), group) for label, split, group in rows
    ]


def test_classes_yaml_needs_no_classes():
    classes = read_classes("\ufefftemplates: ['a {}']".encode(), "x")
    assert (classes.names, classes.complete, classes.templates) == ((), False, ("a {}",))
