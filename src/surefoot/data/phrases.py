"""Spurious phrases from a language model: what to ask, and which lines of an answer can be used.

A phrase goes on after a caption ("{} on a sandy beach") and names no class. Only English is understood. Who is asked
belongs to `language_model`; the pools that ship, and reading any, to `pools`.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

WORDS, LETTERS = 12, 100  # the longest phrase
SHOWN, RECALLED = 60, 100  # class names and earlier phrases in one request, so that it fits a small model


def _those(words: str) -> frozenset[str]:
    return frozenset(words.split())


ARTICLES = _those("a an the")
PREPOSITIONS = _those(
    "above across after against along alongside amid amidst among amongst around as at atop before behind below "
    "beneath beside between beyond by down during for from in inside into near next of off on onto opposite out "
    "outside over past through throughout to toward towards under underneath up upon via with within without"
)
OPENERS = PREPOSITIONS | _those(
    "blown bound built cast caught close cut drawn far grown half hidden hung indoors kept laid left lit lost made "
    "mostly outdoors partly seen set sewn shot shown shrunk spun taken thrown tied torn worn woven written"
)
UNFINISHED = ARTICLES | _those("and as at by for from in into its of on or some their to very with")
IRREGULAR = {
    "children": "child", "feet": "foot", "geese": "goose", "men": "man", "mice": "mouse", "oxen": "ox",
    "people": "person", "teeth": "tooth",
}  # fmt: skip

MARK = re.compile(r"(?:[-*+>#•·–—]+|\(?\d{1,3}[.):]|\(?[A-Za-z][.)](?= )|\{\}(?= )) *")
LEAD = re.compile(r"(?:an? )?(?:photo|picture|image) of (?:an? |the )?(?:x|\[x\]|\{\}|\.\.\.|…)(?= )", re.IGNORECASE)
REMARK = re.compile(r"(?: [-–—] |: | ?\().*$")
EDGES = " *_`~\"'“”‘’„«»|.,;!?…"
INSIDE = " ,'’-/&%°"  # allowed in a phrase beside letters and digits


class Fault(StrEnum):
    """Why a line of an answer is left out."""

    unprintable = "with control characters"
    braces = "with braces"
    long = f"of more than {WORDS} words"
    no_phrase = "that do not go on after a caption"
    repeated = "given before"
    names_class = "that name a class"


@dataclass(frozen=True)
class Checked:
    """Usable phrases, each with "{}" once, in the order of the answers; and how many lines had which fault."""

    phrases: tuple[str, ...]
    dropped: Mapping[Fault, int]


def request(names: Sequence[str], *, count: int, given: Sequence[str], turn: int) -> str:
    """What to ask a language model for. Of many class names each `turn` shows others."""
    step = max(1, -(-len(names) // SHOWN))
    shown = [" ".join(name.split()) for name in names[turn % step :: step]]
    among = f" {len(names)} classes, among them" if step > 1 else ""
    lines = [
        f"A model tells photos of these things apart:{among} {', '.join(shown)}.",
        "Photos of one of them often have more in common than the thing itself: where it is, what lies under or behind "
        "it, its surface, the light, the colours, the style, how the photo is framed. A careless model learns that "
        "instead of the thing.",
        f'Write {count} short phrases about such things. Each must go on after "a photo of a X", where X is the name '
        'of a thing. Good ones are "on a sandy beach" and "in dim yellow light".',
        "Rules: begin with a word such as on, in, with, under, behind, seen or taken. Two to eight words each. Cover "
        "background, texture, light, colour, style and framing. Never name one of the things or a part of one. One "
        "phrase a line, and nothing else: no numbers, no headings, no explanations.",
    ]
    if given:
        lines.append(f"These are there already; write others: {'; '.join(given[-RECALLED:])}.")
    return "\n".join(lines)


def check_answers(answers: Iterable[str], *, names: Iterable[str]) -> Checked:
    """The usable phrases of all answers, each once. `names` are those of the classes with their synonyms."""
    classes = [forms for name in names for forms in _spoken(name)]
    kept: dict[tuple[str, ...], str] = {}
    dropped: Counter[Fault] = Counter()
    for line in (line for answer in answers for line in _without_thoughts(answer).splitlines()):
        text = _bare(line)
        if not text:
            continue
        key = tuple(word for word in _words(text) if word not in ARTICLES)
        fault = next(_faults(text, key in kept, classes), None)
        if fault is not None:
            dropped[fault] += 1
        else:
            kept[key] = f"{{}} {text}"
    return Checked(tuple(kept.values()), dropped)


def _without_thoughts(answer: str) -> str:
    """What follows the thinking that some models show, of which not all show where it begins."""
    return answer.rpartition("</think>")[2].partition("<think>")[0]


def _bare(line: str) -> str:
    """The line without bullet, number, quotes, markdown, "a photo of a X" before it and a remark behind it."""
    text, before = " ".join(line[: 10 * LETTERS].split()), ""
    while text != before:
        before = text
        text = MARK.sub("", text, count=1) if MARK.match(text) else text
        text = LEAD.sub("", text, count=1) if LEAD.match(text) else text
        text = text.strip(EDGES)
    text = REMARK.sub("", text).strip(EDGES) or text
    return text[:1].lower() + text[1:]


def _faults(text: str, repeated: bool, classes: Sequence[Sequence[frozenset[str]]]) -> Iterator[Fault]:
    if any(unicodedata.category(letter)[0] == "C" or letter == "\ufffd" for letter in text):
        yield Fault.unprintable
    if "{" in text or "}" in text:
        yield Fault.braces
    if len(text.split()) > WORDS or len(text) > LETTERS:
        yield Fault.long
    if not _goes_on(text):
        yield Fault.no_phrase
    if repeated:
        yield Fault.repeated
    if _names_one_of(classes, [_forms(word) for word in _words(text)]):
        yield Fault.names_class


def _goes_on(text: str) -> bool:
    """Whether it begins as a phrase after a noun does, ends as one, and has nothing but words inside."""
    words = text.casefold().split()
    first = words[0]
    opens = first in OPENERS or (len(first) > 4 and first.endswith(("ing", "ed")))
    plain = all(letter.isalnum() or letter in INSIDE for letter in text)
    return len(words) > 1 and opens and plain and words[-1] not in UNFINISHED


def _spoken(name: str) -> Iterator[list[frozenset[str]]]:
    """The forms of each word of a class name; "crane (bird)" and "bat, flying fox" are two names each.

    A name of small words alone ("on" of a switch) is in every phrase and not looked for.
    """
    for part in re.split(r"[(),;/]", name):
        words = _words(part)
        if set(words) - ARTICLES - PREPOSITIONS:
            yield [_forms(word) for word in words]


def _names_one_of(classes: Sequence[Sequence[frozenset[str]]], text: Sequence[frozenset[str]]) -> bool:
    return any(
        all(theirs & ours for theirs, ours in zip(name, text[start:], strict=False))
        for name in classes
        for start in range(len(text) - len(name) + 1)
    )


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.casefold())


def _forms(word: str) -> frozenset[str]:
    """The word and what may be its singular; two words are taken for one thing if they share a form."""
    found = {word, IRREGULAR.get(word, word)}
    if len(word) > 3:
        for plural, singular in (("s", ""), ("es", ""), ("ies", "y"), ("ves", "f"), ("ves", "fe"), ("men", "man")):
            if word.endswith(plural) and not word.endswith("ss"):
                found.add(word.removesuffix(plural) + singular)
    return frozenset(found)
