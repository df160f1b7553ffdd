import csv
import io

import pytest
from rich.console import Console

from surefoot.report import as_csv, comparison, find_runs, markdown, tables, terminal


@pytest.fixture
def numbers(tmp_path, make_results, make_run):
    """Accuracies on 512, 2297 and 268 images: the nearest that so many images allow."""
    for method, accuracies in {
        "zero_shot": (0.5, 0.6, 0.4),
        "fine_tune": (0.75, 0.6, 0.3),
        "flyp": (0.7, 0.5, 0.4),
    }.items():
        make_run(tmp_path, make_results(method, accuracies, shifts=("solid", "pixel")))
    return comparison(find_runs(tmp_path))


def drawn(found, *, width: int, color: bool = False) -> str:
    out = io.StringIO()
    system = "standard" if color else None
    Console(file=out, width=width, force_terminal=color, color_system=system, legacy_windows=False).print(
        terminal(found)
    )
    return out.getvalue()


@pytest.mark.parametrize(
    ("values", "better", "expected"),
    [
        ([1.0, 3.0, 2.0], "high", ["", "best", "second"]),
        ([1.0, 3.0, 2.0], "low", ["best", "", "second"]),
        ([3.0, 3.0, 2.0, 2.0, 1.0], "high", ["best", "best", "second", "second", ""]),
        ([None, 3.0, 2.0], "high", ["", "best", "second"]),
        ([2.0, 2.0], "high", ["", ""]),
        ([2.0], "high", [""]),
        ([0.0, 9.0], "neither", ["", ""]),
    ],
)
def test_best_and_second_best_are_marked_and_ties_share(values, better, expected):
    assert tables.marks(values, better=better) == expected


def test_numbers_that_look_equal_tie(numbers):
    for row, accuracy in zip(numbers["rows"], (0.70001, 0.70004, 0.65), strict=True):
        row["id_accuracy"] = accuracy
    first = [line.cells[0] for line in tables.table(numbers).lines]
    assert [(cell.text, cell.mark) for cell in first] == [("65.0", "second"), ("70.0", "best"), ("70.0", "best")]


def test_markdown_shows_units_and_marks(numbers):
    lines = markdown(numbers).splitlines()
    header = next(line for line in lines if line.startswith("| method"))
    assert header.startswith(
        "| method | line (ID) (%) | solid (%) | pixel (%) | mean shift (%) | worst shift (%) | ECE ID (×100)"
    )
    assert "| zero_shot | 50.0 | **60.0** | **39.9** | **50.0** | **39.9** |" in "\n".join(lines)
    assert "| fine_tune | **75.0** | **60.0** | *29.9* |" in "\n".join(lines)
    assert "gained 25.0 points on line and lost 5.0 points" in markdown(numbers)


def test_markdown_shows_names_as_text(numbers):
    for row in numbers["rows"]:
        row["method"] = row["method"].replace("flyp", "<b>|*x*|`")
    assert r"\<b\>\|\*x\*\|\`" in markdown(numbers)


def test_csv_reads_back(numbers):
    rows = list(csv.DictReader(io.StringIO(as_csv(numbers))))
    assert rows[1]["method"] == "fine_tune"
    assert rows[1]["line (ID) (%)"] == "75.0"
    assert rows[1]["training (s)"] == "47"


def test_csv_has_half_widths_over_seeds_and_no_formulas(tmp_path, make_results, make_run):
    for seed, accuracy in enumerate((0.5, 0.75)):
        make_run(tmp_path, make_results("=fine", (accuracy,), shifts=(), seed=seed))
    (row,) = csv.DictReader(io.StringIO(as_csv(comparison(find_runs(tmp_path)))))
    assert row["method"] == "'=fine"
    assert (row["seeds"], row["line (ID) (%)"], row["line (ID) (%) ±"]) == ("0 1", "62.5", "158.8")


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_the_terminal_table_fits_and_loses_no_number(tmp_path, make_sample, width):
    found = comparison(find_runs(make_sample(tmp_path)))
    text = drawn(found, width=width)
    assert max(map(len, text.splitlines())) <= width
    for line in tables.table(found).lines:
        assert all(cell.text in text for cell in line.cells)
    assert "…" not in text


def test_a_long_method_name_is_cut_in_the_terminal(numbers):
    numbers["rows"][0]["method"] = "a_method_with_quite_a_long_name"
    assert "a_method_with_qui…" in drawn(numbers, width=60)


def test_marks_are_bold_and_underlined_in_a_terminal_and_signs_in_a_file(numbers):
    assert "\x1b[1m75.0" in drawn(numbers, width=100, color=True)
    assert "75.0*" in drawn(numbers, width=100)
    assert "29.9+" in drawn(numbers, width=100)


def test_markup_in_names_is_shown_as_text(numbers):
    for row in numbers["rows"]:
        row["method"] = row["method"].replace("flyp", "[red]flyp[/]")
    assert "[red]flyp[/]" in drawn(numbers, width=100)


def test_missing_numbers_are_a_dash_and_groups_a_column(tmp_path, make_results, make_run):
    make_run(tmp_path, make_results("fine_tune", (0.75,), shifts=(), groups={"a": 0.5, "b": 0.25}))
    content = make_results("flyp", (0.75,), shifts=())
    make_run(tmp_path, content)
    whole = tables.table(comparison(find_runs(tmp_path)))
    labels = [column.label for column in whole.columns]
    assert labels == ["line (ID)", "ID", "a", "b", "worst group", "re-weighted", "training"]
    assert [[cell.text for cell in line.cells[2:6]] for line in whole.lines] == [
        ["50.0", "25.0", "25.0", "37.5"],
        ["–", "–", "–", "–"],
    ]


def test_groups_stand_below_the_table_where_space_is_short(tmp_path, make_results, make_run):
    groups = {"animal on grass": 0.9, "animal on water": 0.6, "vehicle on grass": 0.7, "vehicle on water": 0.8}
    make_run(tmp_path, make_results("fine_tune", (0.75,), shifts=(), groups=groups))
    found = comparison(find_runs(tmp_path))
    titles = [line for line in drawn(found, width=50).splitlines() if line.endswith("(%)")]
    assert titles == ["Accuracy on each group (%)"]
    assert "each group" not in drawn(found, width=120)
    assert "Re-weighted: the mean of the groups by their shares" in markdown(found)


def test_of_many_groups_the_table_has_only_the_worst(tmp_path, make_results, make_run):
    make_run(tmp_path, make_results("fine_tune", (0.75,), shifts=(), groups={f"g{i}": i / 40 for i in range(1, 21)}))
    labels = [column.label for column in tables.table(comparison(find_runs(tmp_path))).columns]
    assert labels == ["line (ID)", "ID", "worst group", "re-weighted", "training"]
