"""Composition: any method's loss, with the regularisers of any others added to it.

    loss = loss of `base` + sum over `terms` of the weighted terms of those methods

Each part keeps its own defaults and takes its own options (`method.star_ft.weight=0.3`); stages, prediction and
averaging are those of the base. A step runs the student once and the frozen teacher once, whatever the number of terms.
`flyp+star_ft+lipsum_ft` as a method's name is short for this. Where the base does not train the text tower, terms over
captions move the image tower alone. Not from a paper; the papers of the parts stand on their pages.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from surefoot.backbones.base import Backbone
from surefoot.classifier import Classifier
from surefoot.data.held_out import HeldOut
from surefoot.data.prompts import Prompts
from surefoot.methods._parts import base_of, collected, made_for, options_of, term_of, widened
from surefoot.methods.base import Method, Progress, Seen


class Compose(Method):
    summary: ClassVar[str] = "Any method with the regularisers of others"

    class Config(Method.Config):
        base: str = "flyp"  # the method whose loss, stages and prediction are taken
        terms: Annotated[tuple[str, ...], Field(min_length=1)] = ("star_ft", "lipsum_ft")
        options: Mapping[str, Mapping[str, Any]] = {}  # of base and terms; written method.NAME.OPTION

        _collect = model_validator(mode="before")(collected)

        @model_validator(mode="after")
        def _parts_fit(self) -> Self:
            parts = (self.base, *self.terms)
            if twice := [name for name in self.terms if parts.count(name) > 1]:
                raise ValueError(f"method.terms={list(self.terms)}: {twice[0]!r} stands twice; method.base={self.base}")
            if unused := sorted(self.options.keys() - set(parts)):
                raise ValueError(f"method.{unused[0]}: no such part is composed; parts: {', '.join(parts)}")
            options_of(base_of(self.base), self.base, self.options)
            for name in self.terms:
                options_of(term_of(name), name, self.options)
            return self

    config: Config

    def __init__(self, config: Config, backbone: Backbone, prompts: Prompts) -> None:
        nn.Module.__init__(self)  # not Method's: the base holds the backbone, which has one place in a checkpoint
        self.config, self.prompts, kind = config, prompts, base_of(config.base)
        self.base: Method = kind(options_of(kind, config.base, config.options), backbone, prompts)
        made = {name.replace(".", "_"): made_for(self.base, name, config.options) for name in config.terms}
        self.made, self.terms = made, nn.ModuleDict(made)  # in a dict for us, in a module for torch
        self.smallest_batch = max(self.base.smallest_batch, *(term.smallest_batch for term in made.values()))
        self.selected_on = self.base.selected_on
        self.stages = tuple(widened(stage, made) for stage in self.base.stages)

    @classmethod
    def recommends(cls, config: Method.Config) -> Mapping[str, Any]:
        assert isinstance(config, cls.Config)
        base = base_of(config.base)
        return base.recommends(options_of(base, config.base, config.options))

    @classmethod
    def settings_of(cls, config: Method.Config, name: str) -> str:  # noqa: ARG003
        assert isinstance(config, cls.Config)
        return config.base

    @property
    def backbone(self) -> Backbone:  # type: ignore[override]
        return self.base.backbone

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        found = self.base.losses(seen)
        for name, term in self.made.items():
            found |= {f"{name}.{key}": value for key, value in term(seen).items()}
        return found

    def after_step(self, progress: Progress) -> None:
        self.base.after_step(progress)
        for term in self.made.values():
            term.after_step(self.backbone, progress)

    def consult(self, held_out: HeldOut, progress: Progress) -> None:
        self.base.consult(held_out, progress)

    def finalize(self) -> None:
        self.base.finalize()

    def classifier(self) -> Classifier:
        return self.base.classifier()
