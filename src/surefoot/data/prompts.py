"""Class names, templates and contexts become sentences; which caption an image gets depends on nothing but a seed.

Tokens belong to the backbones, losses over captions to the methods.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Self

import numpy as np
from pydantic import AfterValidator

from surefoot.data.batch import Batch
from surefoot.data.draws import CHOICE, NAME, SPURIOUS, choices
from surefoot.data.task import Task


def has_slot(sentence: str) -> str:
    """The sentence. ValueError unless it holds "{}" once and no other braces."""
    if sentence.count("{}") != 1 or sentence.count("{") != 1 or sentence.count("}") != 1:
        raise ValueError(f"{sentence!r} must hold '{{}}' exactly once, where the class goes")
    return sentence


Template = Annotated[str, AfterValidator(has_slot)]

DEFAULT_TEMPLATES: tuple[str, ...] = (
    "{}",
    "a {}",
    "a picture of a {}",
    "a photo of a {}",
    "a photograph showing a {}",
    "a close photo of a {}",
    "a photo of a {} seen from far away",
    "a bright photo of a {}",
    "a dark photo of a {}",
    "a blurry photo of a {}",
    "a photo of one {}",
    "a photo of a small {}",
    "a photo of a large {}",
    "an image of the {}",
    "a drawing of a {}",
    "something that looks like a {}",
)

DEFAULT_CONTEXTS: tuple[str, ...] = (
    "a photo of a {}",
    "a sketch of a {}",
    "a painting of a {}",
    "a line drawing of a {}",
    "a cartoon of a {}",
    "a computer rendering of a {}",
    "an icon of a {}",
    "a silhouette of a {}",
    "a sculpture of a {}",
    "a toy {}",
    "a blurry photo of a {}",
    "a dark photo of a {}",
    "a black and white photo of a {}",
    "a photo of a {} outdoors",
    "a photo of a {} indoors",
    "a {} on a plain background",
)


@dataclass(frozen=True)
class Prompts:
    """The sentences of a task: C class names in T templates and M contexts, each holding "{}" exactly once.

    `names` says what sentences call each class, one or more names a class; empty: the name in `classes`.
    """

    classes: tuple[str, ...]
    templates: tuple[str, ...]
    contexts: tuple[str, ...]
    seed: int = 0
    names: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if not self.classes:
            raise ValueError("prompts: classes is empty; give the class names")
        for name in self.classes:
            if not name.strip():
                raise ValueError(f"prompts: class {self.classes.index(name)} has an empty name; give it one")
        if len(self.called) != len(self.classes):
            raise ValueError(f"prompts: names has {len(self.names)} entries for {len(self.classes)} classes")
        for known, names in zip(self.classes, self.called, strict=True):
            if not names or not all(name.strip() for name in names):
                raise ValueError(f"prompts: names of class {known!r} are {names!r}; give at least one, and none empty")
        for option, templates in (("templates", self.templates), ("contexts", self.contexts)):
            if not templates:
                raise ValueError(f"prompts: {option} is empty; give at least one, such as 'a photo of a {{}}'")
            for template in templates:
                if template.count("{}") != 1 or template.count("{") != 1 or template.count("}") != 1:
                    raise ValueError(f"prompts: {option} has {template!r}; each must hold '{{}}' exactly once")

    @classmethod
    def from_task(cls, task: Task, *, seed: int = 0) -> Self:
        """The prompts of `task`, with the default contexts where it has none."""
        templates, contexts = task.templates or DEFAULT_TEMPLATES, task.contexts or DEFAULT_CONTEXTS
        return cls(task.classes, templates, contexts, seed, task.names)

    @cached_property
    def called(self) -> tuple[tuple[str, ...], ...]:
        """The names that stand for each class in sentences."""
        return self.names or tuple((name,) for name in self.classes)

    def class_sentences(self) -> list[list[str]]:
        """C lists of sentences: each of a class's names in every template."""
        return [[t.replace("{}", name) for name in names for t in self.templates] for names in self.called]

    def context_sentences(self) -> list[list[str]]:
        """M lists of sentences: every name of every class in each context."""
        return [[context.replace("{}", name) for names in self.called for name in names] for context in self.contexts]

    def captions(self, batch: Batch) -> list[str]:
        """One caption an image: a name of its class in a template, both drawn by a hash of (seed, index, view).

        Equal on any number of ranks and after a resume; with `data.views=0` an image meets a new template each epoch.
        """
        return self._drawn(self.templates, batch, use=CHOICE)

    def spurious_captions(self, pool: Sequence[str], batch: Batch) -> list[str]:
        """One caption an image: in a template drawn from `pool`, in the same way but independently; the same name."""
        return self._drawn(pool, batch, use=SPURIOUS)

    def _drawn(self, templates: Sequence[str], batch: Batch, *, use: int) -> list[str]:
        labels, index, view = batch.on_host()
        drawn = choices(self.seed, index, view, count=len(templates), use=use)  # (B,)
        called = [self.called[label] for label in labels.tolist()]
        counts = np.array([len(names) for names in called], dtype=np.int64)
        place = choices(self.seed, index, view, count=counts, use=NAME)  # (B,)
        return [
            templates[t].replace("{}", names[n])
            for t, names, n in zip(drawn.tolist(), called, place.tolist(), strict=True)
        ]
