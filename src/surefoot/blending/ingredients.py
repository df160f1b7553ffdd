"""What a blend is mixed from, and the classifier that it is mixed in; kinds of blend say only what each tensor becomes.

Besides that classifier at most two models' weights are in memory, however many runs there are: the zero-shot model's,
and what a kind of blend keeps itself. The runs' weights are read tensor by tensor.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from surefoot.blending.lazy import stored_classifier
from surefoot.blending.runs import Source
from surefoot.classifier import Classifier, Head
from surefoot.data.prompts import Prompts
from surefoot.evaluation.evaluate import split_logits
from surefoot.evaluation.metrics import accuracy
from surefoot.run import Parts, load_run_backbone
from surefoot.weights import Weights


@dataclass(frozen=True)
class Mixed:
    """What a kind of blend says of its result: what chose, on which numbers, and what it is made of."""

    selected_on: str = "none"
    sweep: Sequence[Mapping[str, Any]] = ()
    selection: Sequence[Mapping[str, Any]] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ingredients:
    """Runs that belong together, what they were trained on, and a classifier of their kind to mix in."""

    parts: Parts
    sources: Sequence[Source]
    runs: Sequence[Weights]
    classifier: Classifier
    prompts: Prompts
    remake_head: bool  # from the blended text tower, else the head is averaged like the rest
    scratch: Path  # where a kind may leave files until the blend is finished

    @classmethod
    def of(cls, parts: Parts, sources: Sequence[Source], *, remake_head: bool = False, scratch: Path = Path()) -> Self:
        """Raises ValueError where the head is to be made by a text tower that a run never trained."""
        classifier = Classifier.from_pretrained(sources[0].folder.classifier)
        runs = [stored_classifier(source.folder.classifier, classifier) for source in sources]
        prompts = Prompts.from_task(parts.task, seed=sources[0].config.seed)
        found = cls(parts, sources, runs, classifier, prompts, remake_head, scratch)
        if remake_head:
            found.check_text_towers()
        return found

    @cached_property
    def zero_shot(self) -> Weights:
        """The weights of the model before any training, with its zero-shot head."""
        backbone = load_run_backbone(self.sources[0].config)
        convention = self.classifier.head.convention
        return Classifier.zero_shot(backbone, self.prompts, convention=convention).state_dict()

    @torch.no_grad()
    def fill(self, weight: Callable[[str], Tensor]) -> None:
        """Put `weight(name)` into the classifier for each tensor that training may have changed."""
        target = self.classifier.state_dict()
        for name in self.runs[0]:
            target[name].copy_(weight(name))
        if self.remake_head:
            head = Head.zero_shot(self.classifier.backbone, self.prompts, convention=self.classifier.head.convention)
            self.classifier.head.load_state_dict(head.state_dict())

    def validation_accuracy(self) -> float:
        """Of the classifier as it is filled; no test split is looked at."""
        parts, split = self.parts, self.parts.task.validation
        parts.fabric.to_device(self.classifier)
        logits = split_logits(self.classifier, split, parts.data, parts.fabric)
        return accuracy(logits.argmax(-1).numpy() == split.labels)

    def check_text_towers(self) -> None:
        """ValueError where a run left its text tower as it was: its head was trained, not made from text."""
        for source, run in zip(self.sources, self.runs, strict=True):
            names = [name for name in run if name.startswith("backbone.text.")]
            if all(torch.equal(self.zero_shot[name], run[name]) for name in names):
                raise ValueError(
                    f"head=text makes the head anew from the text tower, but {source.folder.path} never trained its "
                    "text tower: what it learned about classes is in its head; choose head=average"
                )
