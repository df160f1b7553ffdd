"""Kinds of blend for several runs: their mean, a mean that grows by what validation gains from, and Model Stock."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from surefoot.blending.ingredients import Ingredients, Mixed
from surefoot.blending.lazy import Only
from surefoot.blending.options import BlendOptions
from surefoot.engine.log import progress_bar
from surefoot.weights import Weights, average, interpolate, model_stock


def uniform(ingredients: Ingredients, _: BlendOptions) -> Mixed:
    """Uniform soup: the mean of all runs. Wortsman et al., ICML 2022 (arXiv:2203.05482)."""
    ingredients.fill(lambda name: average(_each(ingredients, name))[name])
    return Mixed(provenance={"soup_of": [source.name for source in ingredients.sources]})


def stock(ingredients: Ingredients, _: BlendOptions) -> Mixed:
    """Model Stock: from zero-shot towards the mean, each tensor as far as the runs agree. arXiv:2403.19522."""
    start = ingredients.zero_shot
    ingredients.fill(lambda name: model_stock(Only(start, name), _each(ingredients, name))[name])
    return Mixed(provenance={"soup_of": [source.name for source in ingredients.sources]})


def greedy(ingredients: Ingredients, _: BlendOptions) -> Mixed:
    """Greedy soup: the best run on validation, then each next one that raises the mean's accuracy there.

    Wortsman et al., ICML 2022 (arXiv:2203.05482): a run is kept where the accuracy becomes strictly higher. Runs that
    are equally good are tried in the order in which they were given.
    """
    sources, runs = ingredients.sources, ingredients.runs
    order = sorted(range(len(runs)), key=lambda i: -sources[i].validation_accuracy())
    best = sources[order[0]].validation_accuracy()
    mean = {name: tensor.clone() for name, tensor in runs[order[0]].items()}
    selection = [_tried(ingredients, order[0], best, kept=True)]
    kept = 1
    with progress_bar("greedy soup", len(runs) - 1, shown=ingredients.parts.fabric.is_global_zero) as bar:
        for done, i in enumerate(order[1:], start=1):
            ingredients.fill(_one_more(mean, runs[i], kept))
            found = ingredients.validation_accuracy()
            selection.append(_tried(ingredients, i, found, kept=found > best))
            if found > best:
                best, kept = found, kept + 1
                mixed = ingredients.classifier.state_dict()
                for name, tensor in mean.items():
                    tensor.copy_(mixed[name])
            bar.advance_to(done, f"{kept} kept, validation {best:.3f}")
    ingredients.fill(mean.__getitem__)
    names = [entry["run"] for entry in selection if entry["kept"]]
    return Mixed(selected_on="validation", selection=selection, provenance={"soup_of": names})


def _each(ingredients: Ingredients, name: str) -> Sequence[Weights]:
    """One tensor of every run, each read when it is asked for."""
    return [Only(run, name) for run in ingredients.runs]


def _one_more(mean: Weights, run: Weights, kept: int) -> Callable[[str], Tensor]:
    """The tensors of the mean of `kept` runs and one more."""
    return lambda name: interpolate({name: mean[name]}, {name: run[name]}, 1 / (kept + 1))[name]


def _tried(ingredients: Ingredients, run: int, soup_accuracy: float, *, kept: bool) -> dict[str, Any]:
    source = ingredients.sources[run]
    return {
        "run": source.name,
        "validation_accuracy": source.validation_accuracy(),
        "soup_accuracy": soup_accuracy,
        "kept": kept,
    }
