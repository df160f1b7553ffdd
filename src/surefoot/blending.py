"""WiSE-FT of any finished run: average its weights with the zero-shot model's, and let validation choose how far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from surefoot.classifier import Classifier
from surefoot.config import RunConfig, resolve
from surefoot.data.prompts import Prompts
from surefoot.data.task import Task
from surefoot.engine.log import progress_bar
from surefoot.run import Parts, Run, about_data, evaluate_with, finish, load_run_backbone, on_first_rank
from surefoot.run_folder import RunFolder
from surefoot.weights import interpolate

ALPHAS = tuple(round(0.1 * step, 1) for step in range(11))


@dataclass(frozen=True)
class Ends:
    """The ends of a blend, the zero-shot model's weights and a run's, and a classifier to hold what lies between."""

    classifier: Classifier
    start: Mapping[str, Tensor]
    end: Mapping[str, Tensor]

    @classmethod
    def of(cls, config: RunConfig, task: Task, source: RunFolder) -> Self:
        """The ends of a finished run. ValueError where its head has no zero-shot form."""
        classifier = Classifier.from_pretrained(source.classifier)
        if classifier.head.convention == "linear":
            raise ValueError(
                f"{source.path} has a linear head (method.head=linear), which has no zero-shot weights to average "
                "with; train it again with method.head=scaled, then blend that run"
            )
        prompts = Prompts.from_task(task, seed=config.seed)
        start = Classifier.zero_shot(load_run_backbone(config), prompts, convention=classifier.head.convention)
        end = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
        return cls(classifier, start.state_dict(), end)

    def go_to(self, alpha: float) -> None:
        """Put the classifier at `alpha` between zero-shot (0) and what the run left behind (1)."""
        self.classifier.load_state_dict(interpolate(self.start, self.end, alpha))


def blend(run: str | Path, output: str | Path = "", *, alphas: Sequence[float] = ALPHAS) -> Run:
    """WiSE-FT of a finished run: its weights averaged with the zero-shot model's, (1 - alpha) and alpha.

    Of several alphas the one with the best accuracy on validation is kept, of equals the one nearest to zero-shot;
    results.json holds the whole sweep. Written to `output`, by default RUN-blend; a blend of the same run and alphas
    that stands there is returned as it is. Raises ValueError where the run is unfinished or its head has no zero-shot
    form, or where `output` holds something else.
    """
    wrong = [alpha for alpha in alphas if not 0 <= alpha <= 1]
    if wrong or not alphas:
        raise ValueError(f"alphas is {list(alphas)}; give one or more numbers from 0 (zero-shot) to 1 (fine-tuned)")
    source = RunFolder(Path(run))
    seconds = source.results()["seconds"]
    config = resolve(source.record()["config"])
    folder = RunFolder(Path(output) if str(output) else source.path.with_name(source.path.name + "-blend"))
    parts = Parts.build(config)
    ends = Ends.of(config, parts.task, source)
    on_first_rank(parts.fabric, lambda: folder.begin(config.to_dict(), about_data(parts.task)))
    if folder.finished:
        return _as_it_stands(folder, alphas)
    points = sweep(parts, config, ends, alphas=alphas)
    best = max(points, key=lambda point: (point["validation_accuracy"], -point["alpha"]))
    ends.go_to(best["alpha"])
    selected_on = "validation" if len(alphas) > 1 else "none"
    ends.classifier.provenance |= {"alpha": best["alpha"], "blend_of": source.path.name, "selected_on": selected_on}
    name = f"{config.method.name} + blend"
    return finish(
        parts, config, ends.classifier, folder, seconds=seconds, selected_on=selected_on, method=name, sweep=points
    )


def sweep(parts: Parts, config: RunConfig, ends: Ends, *, alphas: Sequence[float]) -> list[dict[str, float]]:
    """Accuracy of the blends at `alphas`, an entry each; the classifier is left at the last."""
    points = []
    with progress_bar(f"blend {config.method.name}", len(alphas), shown=parts.fabric.is_global_zero) as bar:
        for done, alpha in enumerate(alphas, start=1):
            ends.go_to(alpha)
            splits = evaluate_with(parts, config, ends.classifier).splits
            points.append({"alpha": alpha, **summary(splits, parts.task)})
            bar.advance_to(done, f"alpha {alpha}")
    return points


def _as_it_stands(folder: RunFolder, alphas: Sequence[float]) -> Run:
    results = folder.results()
    there = [point["alpha"] for point in results["sweep"]]
    if there != list(alphas):
        what = f"a blend at alpha {', '.join(map(str, there))}" if there else "a run that is no blend"
        raise ValueError(f"{folder.path} holds {what}; give another output folder, or remove this one")
    return Run(folder.path, results)


def has_zero_shot_form(source: RunFolder) -> bool:
    """Whether a finished run can be blended; ValueError where its classifier cannot be opened."""
    return Classifier.from_pretrained(source.classifier).head.convention != "linear"


def summary(splits: Mapping[str, Any], task: Task) -> dict[str, float]:
    """Accuracy on validation, at home, and the mean over the shifts (home's own where there is no shift)."""
    shifts = [splits[name]["accuracy"] for name in task.shifts]
    home = splits[task.home]["accuracy"]
    return {
        "validation_accuracy": splits["validation"]["accuracy"],
        "id_accuracy": home,
        "shift_accuracy": sum(shifts) / len(shifts) if shifts else home,
    }
