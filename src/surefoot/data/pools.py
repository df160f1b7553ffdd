"""Text that ships with Surefoot or comes from a file: pools of spurious phrases, and words for random texts.

Which phrase an image gets belongs to `prompts`.
"""

import difflib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from surefoot.data.draws import random_tokens

ASSETS = Path(__file__).parent.parent / "assets"


def pool_names() -> list[str]:
    """The pools that ship with Surefoot."""
    return sorted(path.stem for path in (ASSETS / "spurious").glob("*.txt"))


def read_pools(names: Sequence[str]) -> tuple[str, ...]:
    """The phrases of all pools, each once: names of those that ship, or text files of one phrase a line.

    A phrase holds "{}" exactly once; lines that begin with "#" are left out. Raises ValueError, naming the pool, for an
    unknown name, a phrase without the slot, and fewer than two phrases.
    """
    phrases = tuple(dict.fromkeys(phrase for name in names for phrase in _read(name)))
    if len(phrases) < 2:
        raise ValueError(
            f"pools={list(names)} give {len(phrases)} phrases; two or more are needed to tell one from the other"
        )
    return phrases


def random_sentences(count: int, *, length: int, seed: int, moment: int) -> list[str]:
    """`count` texts of `length` common words without sense; equal for equal (seed, moment)."""
    words = _words()
    drawn = random_tokens(seed, moment, shape=(count, length), size=len(words))
    return [" ".join(words[word] for word in row) for row in drawn.tolist()]


@cache
def _words() -> tuple[str, ...]:
    return _lines(ASSETS / "words.txt")


def _read(name: str) -> tuple[str, ...]:
    known = pool_names()
    path = ASSETS / "spurious" / f"{name}.txt" if name in known else Path(name)
    if not path.is_file():
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise ValueError(f"pools has {name!r}, which is neither a pool nor a file{hint} Pools: {', '.join(known)}")
    try:
        phrases = _lines(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"pools has {name!r}, which is no readable text file: {error}") from error
    for phrase in phrases:
        if phrase.count("{}") != 1 or phrase.count("{") != 1 or phrase.count("}") != 1:
            raise ValueError(f"pools: {name!r} has {phrase!r}; each phrase must hold '{{}}' exactly once")
    return phrases


def _lines(path: Path) -> tuple[str, ...]:
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))
