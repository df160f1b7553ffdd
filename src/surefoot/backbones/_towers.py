"""What a dual encoder is made of: image tower, text tower, tokenizer. Imported through `base`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surefoot.backbones._passes import Tower


class ImageTower(Tower, ABC):
    """Images (N, 3, S, S), normalised by the backbone's ImageSpec, to unit features (N, dim) in float32.

    `blocks`: what the names of each transformer block's weights begin with, first to last; empty where there are none.
    `stem`: what those before the first block begin with; all others come after the last.
    """

    dim: int
    blocks: tuple[str, ...] = ()
    stem: tuple[str, ...] = ()

    @abstractmethod
    def raw(self, images: Tensor) -> Tensor:
        """Features (N, dim) before normalisation, float32."""

    @property
    @abstractmethod
    def output_weight(self) -> Tensor:
        """The projection (width, dim): the last linear map, with gradient."""

    @property
    def parts(self) -> Sequence[nn.Module]:
        """The stem and then each residual block, whose outputs a method may compare (MIRO); none where unknown."""
        return ()

    @property
    def branches(self) -> Sequence[nn.Linear]:
        """The last linear map of every residual branch, in order (R-Adapter); none where unknown."""
        return ()

    def checkpoint_gradients(self) -> None:
        """In training, keep only the input of each block and compute the rest again on the way back."""
        raise ValueError("engine.checkpointing=true: this image tower cannot compute its blocks again; set it to false")

    def forward(self, images: Tensor) -> Tensor:
        return unit(self.raw(images))


class TextTower(Tower, ABC):
    """Tokens (N, L) to unit features (N, dim) in float32; `causal` where a state never sees later tokens.

    `blocks` and `stem` as in `ImageTower`.
    """

    dim: int
    causal: bool
    blocks: tuple[str, ...] = ()
    stem: tuple[str, ...] = ()

    @property
    def sees_filling(self) -> bool:
        """Whether what fills a row up changes its features, so that rows must have the length of the training."""
        return not self.causal

    @abstractmethod
    def raw(self, tokens: Tensor) -> Tensor:
        """Features (N, dim) before normalisation, float32."""

    @property
    @abstractmethod
    def output_weight(self) -> Tensor:
        """The projection (width, dim): the last linear map, with gradient."""

    @property
    def branches(self) -> Sequence[nn.Linear]:
        """The last linear map of every residual branch, in order (R-Adapter); none where unknown."""
        return ()

    def checkpoint_gradients(self) -> None:
        """In training, keep only the input of each block and compute the rest again on the way back."""
        raise ValueError("engine.checkpointing=true: this text tower cannot compute its blocks again; set it to false")

    def forward(self, tokens: Tensor) -> Tensor:
        return unit(self.raw(tokens))


class RawFeatures(nn.Module):
    """An image tower whose forward is `raw`: what `Frozen` needs to remember features that are not normalised."""

    def __init__(self, tower: ImageTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, images: Tensor) -> Tensor:
        return self.tower.raw(images)


@contextmanager
def parts_of(module: nn.Module, places: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """What the parts at `places` of the image tower in `module` give, by place, when it runs inside, once."""
    found: dict[int, Tensor] = {}

    def keeping(place: int) -> Callable[..., None]:
        def keep(_module: nn.Module, _given: object, output: Tensor) -> None:
            found[place] = torch.cat([found[place], output]) if place in found else output  # of one part after another

        return keep

    towers = [part for part in module.modules() if isinstance(part, ImageTower)] if places else []
    hooks = [tower.parts[place].register_forward_hook(keeping(place)) for tower in towers for place in places]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


class Tokenizer(ABC):
    """Sentences to token ids. It never changes, so that copies of a backbone share one."""

    context: int  # the most tokens the text tower reads
    end: int  # id of the end-of-text token
    pad: int  # id that fills rows up
    size: int  # ids go from 0 to size - 1
    special: frozenset[int]  # ids that stand for no text: marks and filling

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text with start and end of text, neither cut nor filled up."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def unit(features: Tensor) -> Tensor:
    """Rows of length 1, in float32 whatever the precision of the towers."""
    return F.normalize(features.float(), dim=-1)
