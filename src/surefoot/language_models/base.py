"""What a language model is, and what its answers have in common: greedy, of bounded length, in whole lines."""

from typing import Protocol

TOKENS = 1024  # of an answer at most


class LanguageModel(Protocol):
    """Something that answers; `answer` raises ValueError naming the option, its value and the remedy."""

    @property
    def name(self) -> str: ...

    def answer(self, request: str) -> str: ...


def whole_lines(text: str) -> str:
    """An answer that was cut off, without its last line unless that is all there is."""
    return text.rpartition("\n")[0] or text
