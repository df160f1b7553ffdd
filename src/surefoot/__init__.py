"""Surefoot fine-tunes zero-shot vision-language models on your own classes without losing what made them robust.

The names below are resolved when first used, so that `import surefoot` needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surefoot.backbones.base import load_backbone as load_backbone
    from surefoot.blending import blend as blend
    from surefoot.classifier import Classifier as Classifier
    from surefoot.comparison import compare as compare
    from surefoot.measuring import evaluate as evaluate
    from surefoot.measuring import evaluate_by_context as evaluate_by_context
    from surefoot.measuring import evaluate_by_text as evaluate_by_text
    from surefoot.run import load_task as load_task
    from surefoot.run import train as train

__version__ = "0.1.0"

_HOMES = {
    "Classifier": "surefoot.classifier",
    "load_backbone": "surefoot.backbones",
    "load_task": "surefoot.run",
    "train": "surefoot.run",
    "compare": "surefoot.comparison",
    "blend": "surefoot.blending",
    "evaluate": "surefoot.measuring",
    "evaluate_by_context": "surefoot.measuring",
    "evaluate_by_text": "surefoot.measuring",
}

__all__ = [
    "Classifier",
    "blend",
    "compare",
    "evaluate",
    "evaluate_by_context",
    "evaluate_by_text",
    "load_backbone",
    "load_task",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'surefoot' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
