from pathlib import Path

import pytest

from surefoot.data.pools import pool_names, random_sentences, read_pools


def test_the_pools_that_ship_are_known_by_name() -> None:
    assert pool_names() == ["background", "colour", "resolution", "style", "texture"]


@pytest.mark.parametrize("name", ["background", "colour", "resolution", "style", "texture"])
def test_a_pool_has_forty_phrases_or_more_that_go_on_after_a_caption(name: str) -> None:
    phrases = read_pools((name,))
    assert len(phrases) >= 40
    assert all(phrase.startswith("{} ") and not phrase.endswith(".") for phrase in phrases)
    assert all(phrase == " ".join(phrase.split()) for phrase in phrases)


def test_pools_share_no_phrase_but_joined_ones_have_each_once() -> None:
    every = [phrase for name in pool_names() for phrase in read_pools((name,))]
    assert len(every) == len(set(every)) == len(read_pools(pool_names()))
    assert read_pools(("style", "style")) == read_pools(("style",))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "give 0 phrases; two or more"),
        ("# only a comment\n{} at sea\n", "give 1 phrases; two or more"),
        ("{} at sea\nat home\n", "has 'at home'; each phrase must hold '{}' exactly once"),
        ("{} at sea\n{} at {}\n", "exactly once"),
        ("{} at sea\n{name} at home\n", "exactly once"),
    ],
)
def test_a_file_that_is_no_pool_is_refused(text: str, complaint: str, tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="pools") as caught:
        read_pools((str(own),))
    assert complaint in str(caught.value)


def test_an_image_is_no_pool(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ValueError, match="no readable text file"):
        read_pools((str(own),))


def test_an_unknown_pool_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"neither a pool nor a file; did you mean colour\? Pools: background, "):
        read_pools(("color",))


def test_random_sentences_are_common_words_drawn_from_seed_and_moment() -> None:
    sentences = random_sentences(20, length=6, seed=0, moment=3)
    assert len(set(sentences)) == 20
    assert all(len(sentence.split()) == 6 and sentence.replace(" ", "").isalpha() for sentence in sentences)
    assert sentences == random_sentences(20, length=6, seed=0, moment=3)
    assert sentences != random_sentences(20, length=6, seed=0, moment=4)
    assert sentences != random_sentences(20, length=6, seed=1, moment=3)
