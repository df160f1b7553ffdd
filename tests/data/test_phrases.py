from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.data.phrases import WORDS, Fault, check_answers, request
from surefoot.data.pools import pool_names, read_pools


def kept(answer: str, names: Sequence[str] = ("dog",)) -> tuple[str, ...]:
    return check_answers([answer], names=names).phrases


def only_fault(line: str, names: Sequence[str] = ("dog",)) -> Fault:
    checked = check_answers([line], names=names)
    assert checked.phrases == ()
    (fault,) = checked.dropped
    return fault


@pytest.mark.parametrize(
    "line",
    [
        "on a sandy beach",
        "On a sandy beach.",
        "  1. On a sandy beach",
        "12) on a sandy beach",
        "(3) on a sandy beach",
        "a) on a sandy beach",
        "- on a sandy beach",
        "* **on a sandy beach**",
        "- 1. `on a sandy beach`",
        "• “on a sandy beach”,",
        '"on a sandy beach",',
        "...on a sandy beach",
        "# on a sandy beach",
        "| on a sandy beach |",
        "{} on a sandy beach",
        "a photo of a X on a sandy beach",
        '3. "A photo of a {} on a sandy beach."',
        "on a sandy beach (often with people)",
        "on a sandy beach: the sea is near",
        "on a sandy beach - where many are",
        "on\ta\u00a0sandy  beach",
    ],
)
def test_what_models_write_around_a_phrase_is_taken_off(line: str) -> None:
    assert kept(line) == ("{} on a sandy beach",)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("Here are fifty phrases:", Fault.no_phrase),
        ("The classes are often seen outdoors", Fault.no_phrase),
        ("outdoors", Fault.no_phrase),
        ("on a", Fault.no_phrase),
        ("red background", Fault.no_phrase),
        ("on a beach; in a wood", Fault.no_phrase),
        ("**Background**", Fault.no_phrase),
        ("in a {place} far away", Fault.braces),
        ("{} on a {} beach", Fault.braces),
        ("on a sandy\u200b beach", Fault.unprintable),
        ("on a \x1b[31mred\x1b[0m beach", Fault.unprintable),
        ("on a sandy \ufffd beach", Fault.unprintable),
        ("on " + "very " * WORDS + "wet grass", Fault.long),
        ("on a " + "wet" * 50, Fault.long),
        ("on grass " * 100_000, Fault.long),
        ("beside a Dog", Fault.names_class),
        ("with two dogs, on grass", Fault.names_class),
        ("on the dog's bed", Fault.names_class),
    ],
)
def test_a_line_of_no_use_is_left_out_for_its_reason(line: str, fault: Fault) -> None:
    assert only_fault(line) is fault


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("bus", "with two buses"),
        ("fly", "covered with flies"),
        ("wolf", "among wolves"),
        ("knife", "beside old knives"),
        ("fox", "near foxes"),
        ("mouse", "with mice around"),
        ("fireman", "beside firemen"),
        ("mountains", "on a mountain"),
        ("glass", "behind glass"),
        ("traffic_light", "under a Traffic Light"),
        ("traffic light", "under traffic-lights"),
        ("crane (bird)", "with a crane behind"),
        ("great white shark, white shark", "near a white shark"),
        ("Straße", "on a STRASSE"),
        ("大熊猫", "with 大熊猫"),
    ],
)
def test_a_phrase_that_names_a_class_is_left_out(name: str, phrase: str) -> None:
    assert only_fault(phrase, [name]) is Fault.names_class


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("cat", "in a catalogue"),
        ("rain", "in a train station"),
        ("water bird", "on calm water"),
        ("on", "on a table"),  # a switch that is on
        ("A", "on a table"),  # a letter
        ("+", "on a table"),
        ("table lamp", "on a table beside a lamp"),
    ],
)
def test_a_phrase_that_only_looks_like_a_class_stays(name: str, phrase: str) -> None:
    assert kept(phrase, [name]) == (f"{{}} {phrase}",)


def test_a_phrase_counts_once_whatever_its_article_case_and_commas_and_whichever_answer() -> None:
    answers = ["on a wet, sandy beach\nOn the Wet Sandy Beach.\non wet-sandy beach", "on a wet sandy beach\nin mist"]
    checked = check_answers(answers, names=["dog"])
    assert checked.phrases == ("{} on a wet, sandy beach", "{} in mist")
    assert checked.dropped == {Fault.repeated: 3}


def test_thoughts_before_an_answer_do_not_count() -> None:
    assert kept("<think>\non a tree\n</think>\non a beach") == ("{} on a beach",)
    assert kept("on a tree, perhaps\n</think>\non a beach") == ("{} on a beach",)
    assert kept("<think>\non a tree\nin a wood") == ()


def test_every_phrase_that_ships_would_be_kept() -> None:
    shipped = read_pools(pool_names())
    assert kept("\n".join(shipped), ["surefoot"]) == shipped


PIECES = st.sampled_from(
    ["on", "with", "a", "the", "sandy", "beach", "dogs", "{}", "{x}", "1.", "-", "*", "**", '"', "(", ")", ":", "\n",
     "a)", "seen", "\x00", "\u202e", "é", "<think>", "</think>", "a photo of a X", ".", ",", "#"]
)  # fmt: skip


@given(st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=60).map(" ".join))
def test_whatever_the_answer_the_phrases_are_fit_for_a_pool_and_for_another_check(answer: str) -> None:
    phrases = kept(answer)
    for phrase in phrases:
        assert phrase.startswith("{} ")
        assert phrase.count("{") == phrase.count("}") == 1
        assert phrase.isprintable()
        assert 2 < len(phrase.split()) <= WORDS + 1
        assert "dog" not in phrase.casefold().split()
    assert len(set(phrases)) == len(phrases)
    assert kept("\n".join(phrases)) == phrases


def test_a_request_names_the_classes_and_what_was_given() -> None:
    asked = request(["house cat", "dog"], count=7, given=["on a bed"], turn=0)
    assert "house cat, dog" in asked
    assert "Write 7 short phrases" in asked
    assert "write others: on a bed." in asked
    assert "write others" not in request(["cat"], count=7, given=[], turn=0)


def test_of_many_classes_the_turns_show_different_ones_and_all_in_the_end() -> None:
    names = [f"thing{i}." for i in range(150)]
    turns = [request(names, count=5, given=[], turn=turn) for turn in range(3)]
    assert all("150 classes, among them" in turn for turn in turns)
    assert [sum(name in turn for turn in turns) for name in names] == [1] * 150
    assert request(names, count=5, given=[], turn=3) == turns[0]
