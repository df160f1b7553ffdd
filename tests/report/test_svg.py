import itertools

from hypothesis import given
from hypothesis import strategies as st

from surefoot.report import svg
from surefoot.report.svg import Box


def test_ticks_are_round_and_inside():
    assert svg.ticks(67.5, 74.6, most=10) == [68, 69, 70, 71, 72, 73, 74]
    assert svg.ticks(0, 1, most=6) == [0, 0.2, 0.4, 0.6, 0.8, 1]


@given(st.floats(0, 100), st.floats(0.5, 100), st.integers(3, 12))
def test_there_are_never_more_ticks_than_asked_for(low, span, most):
    found = svg.ticks(low, low + span, most=most)
    assert 1 <= len(found) <= most
    assert all(low - 1e-6 <= tick <= low + span + 1e-6 for tick in found)


@given(st.lists(st.tuples(st.floats(80, 220), st.floats(80, 220)), min_size=1, max_size=12))
def test_labels_of_a_dozen_crowded_points_neither_overlap_nor_leave_the_plot(points):
    area = Box(0, 0, 300, 300)
    avoid = [Box(x - 8, y - 8, 16, 16) for x, y in points]
    boxes = svg.place_labels(points, [60.0] * len(points), height=14, area=area, avoid=avoid)
    assert all(box.inside(area) for box in boxes)
    overlap = sum(a.overlap(b) for a, b in itertools.combinations(boxes, 2))
    assert overlap == 0


def test_text_in_a_figure_is_escaped():
    part = svg.text(0, 0, "<script>alert(1)</script>")
    whole = svg.figure("f", width=10, height=10, title='"<b>"', description="&", parts=[part, svg.tooltip("<i>")])
    for raw in ("<script", "<b>", "<i>"):
        assert raw not in whole
    assert "&lt;script&gt;" in whole


def test_long_text_is_cut_to_its_width():
    assert svg.cut("short", size=12, width=100) == "short"
    cut = svg.cut("a very long name indeed", size=12, width=60)
    assert cut.endswith("…")
    assert svg.text_width(cut, size=12) <= 60
