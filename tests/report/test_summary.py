import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from surefoot.report import summary


def compare(
    *methods: tuple[str, int, float | None, float | None],
    shifts: tuple[str, ...] = ("solid", "pixel"),
    groups: bool = False,
) -> dict:
    """Each method with its seed, its accuracy at home and that on the shifts, or on the worst of its `groups`."""
    rows = [
        {
            "method": method,
            "seed": seed,
            "run": f"{method}/seed-{seed}",
            "id_accuracy": home,
            "shift_accuracy": shifted if shifts else None,
            "shift_ece": 0.1,
            "worst_group_accuracy": shifted if groups else None,
            "selected_on": "none",
            "splits": {name: {"accuracy": home if name == "line" else shifted} for name in ("line", *shifts)},
        }
        for method, seed, home, shifted in methods
    ]
    return {"task": "icons", "backbone": "clip", "home": "line", "shifts": list(shifts), "rows": rows, "curves": []}


def test_the_interval_over_three_seeds_is_students():
    found = summary.estimate([0.70, 0.72, 0.77])
    assert found is not None
    assert found.mean == pytest.approx(0.73)
    assert (found.low, found.high) == (0.70, 0.77)
    assert found.half_width == pytest.approx(4.3027 * 0.0360555 / 3**0.5, rel=1e-5)


def test_one_seed_has_no_interval_and_a_missing_number_no_mean():
    assert summary.estimate([0.7]).half_width is None
    assert summary.estimate([0.7, None]) is None
    assert summary.estimate([]) is None


@pytest.mark.parametrize("freedom", [1, 2, 5, 17, 30, 31, 40, 100, 1000])
def test_t_quantiles_are_scipys(freedom):
    assert summary.t_quantile(freedom) == pytest.approx(t.ppf(0.975, freedom), rel=1e-4)


def test_the_headline_tells_what_was_traded_and_what_kept_both():
    found = compare(("zero_shot", 0, 0.68, 0.528), ("fine_tune", 0, 0.731, 0.506), ("wise_ft", 0, 0.729, 0.548))
    assert summary.headline(found) == [
        "fine_tune gained 5.1 points on line and lost 2.2 points on the shifts, against zero_shot.",
        "wise_ft kept both: +4.9 on line, +2.0 on the shifts.",
    ]


def test_the_headline_admits_that_nothing_kept_both():
    found = compare(("zero_shot", 0, 0.68, 0.53), ("fine_tune", 0, 0.73, 0.50), ("lp_ft", 0, 0.72, 0.52))
    assert summary.headline(found)[1:] == [
        "lp_ft paid least: +4.0 on line, −1.0 on the shifts.",
        "No method kept both.",
    ]


def test_the_headline_of_methods_that_only_lost_says_so():
    found = compare(("zero_shot", 0, 0.68, 0.53), ("fine_tune", 0, 0.67, 0.50))
    assert summary.headline(found)[0].startswith("No method was better than zero_shot")
    assert summary.headline(found)[1] == (
        "fine_tune came closest: it lost 1.0 points on line and lost 3.0 points on the shifts."
    )


def test_the_headline_does_without_a_reference_and_without_shifts():
    alone = summary.headline(compare(("fine_tune", 0, 0.7, 0.5), ("flyp", 0, 0.6, 0.55)))
    assert alone[:2] == ["fine_tune is best with 70.0 % on line.", "flyp is best with 55.0 % on the shifts."]
    assert "not known" in alone[2]
    flat = summary.headline(compare(("zero_shot", 0, 0.6, 0.5), ("flyp", 0, 0.7, 0.5), shifts=()))
    assert flat[0] == "flyp gained 10.0 points on line, against zero_shot."
    assert "no shifts" in flat[1]
    only = summary.headline(compare(("zero_shot", 0, 0.6, 0.5)))
    assert only[:2] == ["Only zero_shot was run.", "zero_shot has 60.0 % on line."]


def test_where_there_are_no_shifts_the_headline_and_the_facts_tell_of_the_worst_group():
    found = compare(
        ("zero_shot", 0, 0.80, 0.75), ("fine_tune", 0, 0.85, 0.4), ("wise_ft", 0, 0.84, 0.76), shifts=(), groups=True
    )
    assert summary.headline(found) == [
        "fine_tune gained 5.0 points on line and lost 35.0 points on the worst group, against zero_shot.",
        "wise_ft kept both: +4.0 on line, +1.0 on the worst group.",
    ]
    facts = {fact.label: (fact.value, fact.detail) for fact in summary.facts(found)}
    assert facts["Best on the worst group"] == ("76.0 %", "wise_ft")
    assert facts["Largest single loss"] == ("−35.0 points", "fine_tune on the worst group")


fractions = st.none() | st.floats(0, 1)


@given(st.lists(st.tuples(fractions, fractions), min_size=1, max_size=5), fractions, fractions)
def test_whatever_the_numbers_the_headline_is_said_and_agrees_with_the_signs(others, home, shifted):
    methods = [(f"m{i}", 0, a, b) for i, (a, b) in enumerate(others)]
    found = compare(("zero_shot", 0, home, shifted), *methods)
    said = " ".join(summary.headline(found))
    reference, *entries = summary.entries(found)
    moved = [
        (
            summary.difference(e, reference, summary.id_accuracy),
            summary.difference(e, reference, summary.shift_accuracy),
        )
        for e in entries
    ]
    both = any(a is not None and b is not None and a >= 0 and b >= 0 and a + b > 0 for a, b in moved)
    assert said
    assert ("kept both: " in said or "did best on both" in said) == both
    assert "nan" not in said
    summary.facts(found)


def test_the_reference_comes_first_and_two_settings_of_a_method_stand_apart():
    found = compare(("fine_tune", 0, 0.7, 0.5), ("fine_tune", 0, 0.8, 0.5), ("zero_shot", 0, 0.6, 0.5))
    found["rows"][1]["run"] = "high-rate/seed-0"
    assert [entry.name for entry in summary.entries(found)] == ["zero_shot", "fine_tune", "high-rate"]


def test_facts_name_the_largest_single_loss():
    found = compare(("zero_shot", 0, 0.68, 0.53), ("fine_tune", 0, 0.73, 0.50))
    facts = {fact.label: fact for fact in summary.facts(found)}
    assert facts["Best on line"].detail == "fine_tune"
    assert facts["Largest single loss"].value == "−3.0 points"


def test_notes_tell_of_unequal_seeds_and_of_a_dishonest_choice():
    found = compare(("zero_shot", 0, 0.6, 0.5), ("fine_tune", 0, 0.7, 0.5), ("fine_tune", 1, 0.7, 0.5))
    found["rows"][0]["selected_on"] = "solid"
    seeds, chosen = summary.notes(found)
    assert "zero_shot: 0; fine_tune: 0, 1" in seeds
    assert "chosen on solid" in chosen
