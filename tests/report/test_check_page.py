import re

from surefoot.report.check_page import check_page


def sample(**changed):
    """The JSON of a check of two classes, two groups and three splits."""

    def split(counts, groups, interval):
        return {
            "domain": "",
            "images": sum(counts),
            "interval": interval,
            "classes": dict(zip(("cat", "<b>dog</b>"), counts, strict=True)),
            "groups": dict(zip(("in", "out"), groups, strict=True)),
            "group_intervals": {"in": 33.5, "out": 68.1},
        }

    pair = {"split": "train", "path": "a.png", "other_split": "test", "other_path": "b.png"}
    findings = [
        {"level": "note", "where": "classes", "message": "few", "examples": ["test: 2"], "pairs": []},
        {"level": "warning", "where": "test", "message": "1 of 23 alike", "examples": ["a ~ b"], "pairs": [pair]},
        {"level": "error", "where": "train", "message": "bad\nworse", "examples": ["<i>1</i>.png"], "pairs": []},
    ]
    return {
        "format": 1,
        "task": "pets",
        "fingerprint": "0123456789abcdef0123",
        "verdict": "errors",
        "domains": {"": 96},
        "splits": {
            "train": split((60, 3), (40, 23), 10.0),
            "validation": split((5, 5), (5, 5), 45.0),
            "test": split((20, 3), (20, 3), 31.6),
        },
        "findings": findings,
        "places": [],
        **changed,
    }


def test_the_page_says_everything_worst_first():
    page = check_page(sample(), {"a.png": "data:image/png;base64,AAAA"})
    assert "Something would stop a run: 1 error, 1 warning, 1 note." in page
    places = [page.index(f'<article class="finding of-{level}">') for level in ("error", "warning", "note")]
    assert places == sorted(places)
    assert page.count('<img src="data:image/png;base64,AAAA"') == 1  # of the other there is no picture
    assert "bad<br>worse" in page
    assert re.search(r'data-value="31\.6">31\.6<', page)
    assert "<small>68.1</small>" in page


def test_text_from_files_is_escaped_and_nothing_is_loaded():
    page = check_page(sample(), {})
    assert "&lt;b&gt;dog&lt;/b&gt;" in page
    assert "&lt;i&gt;1&lt;" in page
    assert "<b>dog" not in page
    assert "<i>1" not in page
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    assert "default-src 'none'" in page


def test_a_task_that_cannot_be_loaded_has_a_page_with_what_is_missing():
    place = {"path": "train", "what": "images", "get": "https://example.org", "licence": "not stated"}
    places = [{**place, "needed": True, "there": False}, {**place, "path": "more", "needed": False, "there": True}]
    error = {"level": "error", "where": "task", "message": "1 of 2 places", "examples": [], "pairs": []}
    page = check_page(sample(splits={}, domains={}, fingerprint="", findings=[error], places=places), {})
    assert "The task cannot be loaded." in page
    assert '<td class="left alarm">missing</td>' in page
    assert '<td class="left">there</td>' in page
    assert 'id="splits"' not in page


def test_sound_data_have_a_short_page():
    page = check_page(sample(findings=[], verdict="ok"), {})
    assert "Nothing is in the way of a run." in page


def test_pictures_beyond_the_budget_are_left_out():
    page = check_page(
        sample(), {"a.png": "data:image/png;base64," + "A" * 3_100_000, "b.png": "data:image/png;base64,B"}
    )
    assert len(page) < 3_000_000
    assert page.count("<img") == 0


def test_many_examples_are_cut_and_counted():
    finding = {
        "level": "error",
        "where": "train",
        "message": "bad",
        "examples": [f"{i}.png" for i in range(70)],
        "pairs": [],
    }
    page = check_page(sample(findings=[finding]), {})
    assert "49.png" in page
    assert "50.png" not in page
    assert "and 20 more" in page
