"""What a fine-tuning method is: a module that gives weighted loss terms, and stages that say what trains.

A method never sees an optimizer, a rank, a loader or a file. Methods share the functions below, the terms of each
other's files and `losses`; none inherits from another.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from surefoot.backbones.base import Backbone, Frozen
from surefoot.classifier import Classifier, Convention, Head
from surefoot.data.batch import Batch
from surefoot.data.held_out import HeldOut
from surefoot.data.prompts import Prompts
from surefoot.losses import contrastive_loss
from surefoot.methods._term import Options
from surefoot.methods._term import Progress as Progress
from surefoot.methods._term import Seen as Seen
from surefoot.methods._term import Start as Start
from surefoot.methods._term import Term as Term
from surefoot.methods._term import gather as gather


@dataclass(frozen=True)
class Stage:
    """A part of a run: which parameters train (prefixes of their names) and how.

    `lr` multiplies `engine.lr`, and `rates` multiplies that for parameters whose names start so; `share` is the part of
    all steps; without `augment` images come through the evaluation transform.
    """

    train: tuple[str, ...]
    lr: float = 1.0
    share: float = 1.0
    augment: bool = True
    rates: Mapping[str, float] = field(default_factory=dict)

    def by_rate(self, parameters: Mapping[str, nn.Parameter]) -> dict[float, list[nn.Parameter]]:
        """The parameters by what multiplies their rate."""
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in parameters.items():
            rate = next((rate for prefix, rate in self.rates.items() if name.startswith(prefix)), 1.0)
            groups.setdefault(rate, []).append(parameter)
        return groups


class Method(nn.Module, ABC):
    """Base of the plug-ins in `methods/`: one subclass a file, its options in the nested Config.

    `stages` run one after the other. `recommended` holds settings ("engine.clip_norm": 1.0) that apply to this method
    unless the user sets them. `smallest_batch` is 2 where the images of a batch are compared with each other.
    `selected_on` is "validation" for a method that learns from held-out images.
    """

    class Config(Options):
        pass

    summary: ClassVar[str]
    paper: ClassVar[str] = ""
    recommended: ClassVar[Mapping[str, Any]] = {}
    smallest_batch: int = 1
    selected_on: str = "none"
    stages: tuple[Stage, ...] = ()

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.prompts = prompts

    @property
    def trained(self) -> tuple[str, ...]:
        """What trains in any stage: the beginnings of parameters' names."""
        return tuple(prefix for stage in self.stages for prefix in stage.train)

    @property
    def trains_text(self) -> bool:
        """Whether the text tower changes, so that its start must be kept for what compares with it (`Start`)."""
        tower = "backbone.text."
        return any(prefix.startswith(tower) or tower.startswith(prefix) for prefix in self.trained)

    @cached_property
    def zero_shot(self) -> Start:
        """The zero-shot model, for its own term and for those of a composition; to be asked for once `stages` stand."""
        return Start(self.backbone, trains_text=self.trains_text)

    @classmethod
    def settings_of(cls, config: Config, name: str) -> str:  # noqa: ARG003  for methods made of others
        """Whose settings a backbone recommends to the method called `name`."""
        return name

    @classmethod
    def recommends(cls, config: Config) -> Mapping[str, Any]:  # noqa: ARG003  for methods made of others
        """`recommended`, for these options."""
        return cls.recommended

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """Weighted loss terms, scalars; their plain sum is the loss."""
        return self.losses(Seen(self.backbone, batch, progress, watched=self._watched))

    @cached_property
    def _watched(self) -> tuple[int, ...]:
        """What any of its terms watches."""
        return tuple({place for part in self.modules() if isinstance(part, Term) for place in part.watched})

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        """What `forward` gives, from features that other terms may look at too."""
        raise TypeError(
            f"{type(self).__name__} defines no losses(seen), which a method needs in order to train; one that defines "
            "forward(batch, progress) in its place trains, but cannot be the base of a composition"
        )

    @abstractmethod
    def classifier(self) -> Classifier:
        """How this method predicts, as it stands now."""

    def after_step(self, progress: Progress) -> None:
        """Called after each optimizer step, before the gradients are cleared (EMA, projections)."""

    def consult(self, held_out: HeldOut, progress: Progress) -> None:
        """Called after `after_step` with the validation images, which are read only when asked for (TPGM, SWAD).

        Without gradient synchronisation: every process sees the same held-out batches and must do the same with them.
        """

    def finalize(self) -> None:
        """Called once after the last stage (WiSE-FT)."""

    def remember_crops(self, views: int) -> None:
        """Let every `Frozen` teacher remember what it sees: each image has `views` fixed crops (0: always new ones)."""
        for part in self.modules():
            if isinstance(part, Frozen):
                part.remember(views)

    def train_only(self, prefixes: Sequence[str]) -> dict[str, nn.Parameter]:
        """Let only parameters whose names start with one of `prefixes` train, and return them by name."""
        unused = [p for p in prefixes if not any(name.startswith(p) for name, _ in self.named_parameters())]
        if unused:
            raise ValueError(f"stage trains {unused}, but no parameter's name starts so")
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.startswith(tuple(prefixes)))
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}


def initial_head(backbone: Backbone, prompts: Prompts, *, convention: Convention) -> Head:
    """The zero-shot head, or a random one where the convention ("linear") has no zero-shot start."""
    if convention == "linear":
        return Head.random(backbone.dim, len(prompts.classes), seed=prompts.seed)
    return Head.zero_shot(backbone, prompts, convention=convention)


def head_classifier(backbone: Backbone, head: Head, prompts: Prompts) -> Classifier:
    """The image tower with a trained head."""
    return Classifier(backbone, head, classes=prompts.classes, templates=prompts.templates)


def contrast(seen: Seen, prompts: Prompts) -> dict[str, Tensor]:
    """FLYP's loss: the images of all processes against their captions, with the student's scale."""
    texts = seen.joined_texts(prompts.captions(seen.batch))  # (N, D)
    return {"contrastive": contrastive_loss(seen.joined_images, texts, seen.backbone.scale)}


def class_cross_entropy(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of logits (B, C) with labels (B); smoothing spreads that share evenly over the classes."""
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
