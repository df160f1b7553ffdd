import csv
import io

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.data.columns import SEPARATORS, decode, read_columns, separator

TABLE = {"path": ["a, b.png", "ä;c.png"], "label": ['the "cat"', "dog|wolf"], "group": ["", "x\ty"]}


def written(by=",", *, encoding="utf-8", quoting=csv.QUOTE_MINIMAL, ending="\r\n"):
    text = io.StringIO()
    csv.writer(text, delimiter=by, quoting=quoting, lineterminator=ending).writerows(
        [list(TABLE), *zip(*TABLE.values(), strict=True)]
    )
    return text.getvalue().encode(encoding)


@pytest.mark.parametrize("by", SEPARATORS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("ending", ["\r\n", "\n"])
def test_a_csv_reads_alike_with_any_separator_mark_quotes_and_line_ends(by, encoding, quoting, ending):
    data = written(by, encoding=encoding, quoting=quoting, ending=ending)
    assert read_columns(data, "t.csv") == TABLE


def test_blanks_around_values_and_empty_lines_do_not_count():
    assert read_columns(b"path , label\n a.png, cat \n\n", "t.csv") == {"path": ["a.png"], "label": ["cat"]}


def test_a_quoted_value_may_hold_a_line_end():
    assert read_columns(b'path,note\na.png,"two\nlines"\n', "t.csv")["note"] == ["two\nlines"]


def test_the_separator_is_that_of_the_header_not_of_the_values():
    assert separator("path,label\na;b;c,x;y;z;w\n") == ","
    assert separator('"a;b;c",label\n') == ","
    assert separator("path\n") == ","
    assert separator("") == ","


def test_text_in_another_encoding_is_named_with_line_byte_and_remedy():
    data = "path,label\na.png,cat\nb.png,Kätzchen\nc.png,dog".encode("cp1252")
    message = r"t\.csv is not in UTF-8: line 3 holds the byte 0xe4 \(near 'b\.png,Kätzchen'.*iconv -f WINDOWS-1252"
    with pytest.raises(ValueError, match=message):
        read_columns(data, "t.csv")


def test_utf_16_without_its_mark_is_named():
    with pytest.raises(ValueError, match="holds zero bytes"):
        decode("path,label\n".encode("utf-16-le"), "t.csv")


def test_half_a_character_of_utf_16_is_named():
    with pytest.raises(ValueError, match="is not in UTF-8"):
        decode("path".encode("utf-16")[:-1], "t.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('path,label\na.png,"cat\n', "no whole table in CSV: .* is a quote left open"),
        ("path,label\na.png\n", "row 1 has 1 values for 2 columns"),
        ("path;label\na.png;b;c\n", r"row 1 has 3 values for 2 columns \(separator ';'\)"),
        ("path,label,path\na,b,c\n", r"the columns \['path'\] stand more than once"),
    ],
)
def test_what_is_no_table_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        read_columns(text.encode(), "t.csv")


texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=8).map(str.strip)


@given(st.lists(st.tuples(texts, texts, texts), max_size=6), st.sampled_from(SEPARATORS))
@settings(max_examples=60, deadline=None)
def test_any_text_survives_the_round_trip(rows, by):
    text = io.StringIO()
    csv.writer(text, delimiter=by, quoting=csv.QUOTE_ALL).writerows([["a", "b", "c"], *rows])
    found = read_columns(text.getvalue().encode(), "t.csv")
    assert list(zip(*found.values(), strict=True)) == rows


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_that_are_not_wanted_are_named_but_not_kept(kind, tmp_path):
    data = written()
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.table(TABLE), tmp_path / "t.parquet")
        data = (tmp_path / "t.parquet").read_bytes()
    found = read_columns(data, f"t.{kind}", wanted=("label", "absent"))
    assert found == {"path": [], "label": TABLE["label"], "group": []}
