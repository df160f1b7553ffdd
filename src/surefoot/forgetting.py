"""How far a finished model has moved from the one it started from: any pair of a run, a classifier or a backbone.

The numbers are those of the meter that a run reads while it trains; no label of the images is needed.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from surefoot.backbones.base import Backbone, load_backbone
from surefoot.classifier import CARD, Classifier
from surefoot.config import Settings, choose, resolve
from surefoot.data.manifest import IMAGE_SUFFIXES
from surefoot.data.sources import FolderSource
from surefoot.data.task import Split, Task
from surefoot.engine.train import build_fabric
from surefoot.evaluation.meter import Meter
from surefoot.run import NO_SETTINGS, load_task
from surefoot.run_folder import classifier_folder
from surefoot.watching import unrelated


def forgetting(
    model: str | Path,
    settings: Settings = NO_SETTINGS,
    *,
    against: str | Path = "",
    images: str | Path = "",
) -> dict[str, Any]:
    """The meter's reading of `model`, a run, a classifier's folder or a backbone, against the one it started from.

    `against` is another of these; "": the backbone that the run names. `images` is a task, whose validation images are
    taken, or any folder of images; "": the run's task, or iconshift. Settings of section `forgetting` say how many
    images, which unrelated tasks and which texts. Gives "model" and "start", each as `Reading.to_dict` has it and with
    the list `smallest_singular_values`. Raises ValueError where a model does not say what it started from, or the two
    have different image processors or numbers of dimensions.
    """
    config = resolve(settings)
    now, own = _opened(model)
    if not against and "backbone" not in own:
        raise ValueError(f"{model} does not say what it started from; give --against, a backbone, a run or a folder")
    start = _opened(against)[0] if against else _chosen("backbone", own["backbone"]).load()
    if (start.dim, start.image_spec) != (now.dim, now.image_spec):
        raise ValueError(
            f"{model} and what it is compared with are of two kinds: features of {now.dim} and {start.dim} dimensions, "
            f"images of {now.image_spec.size} and {start.image_spec.size} pixels; compare a model with its own start"
        )
    task, with_labels = _images(str(images), own)
    fabric = build_fabric(config.engine)
    fabric.to_device(start)
    fabric.to_device(now)
    others = unrelated(config.forgetting.tasks, task, load_task)
    about = {"config": config.forgetting, "data": config.data, "seed": config.seed}
    meter = Meter(start, task, others=others, with_labels=with_labels, **about)  # type: ignore[arg-type]
    readings = {"start": meter.start, "model": meter.read(now)}
    return {
        name: {**reading.to_dict(), "smallest_singular_values": list(reading.singular_values)}
        for name, reading in readings.items()
    }


def forgetting_text(found: dict[str, Any]) -> str:
    """The readings as lines for a terminal: each quantity of the start and of the model."""
    start, model = found["start"], found["model"]
    lines = [f"{'':<28}{'start':>12}{'model':>12}"]
    for name in model:
        if name not in ("accuracy", "seconds", "smallest_singular_values"):
            lines.append(f"{name:<28}{start[name]:>12.4g}{model[name]:>12.4g}")
    for name, accuracy in model["accuracy"].items():
        lines.append(f"{f'accuracy {name}, %':<28}{100 * start['accuracy'][name]:>12.1f}{100 * accuracy:>12.1f}")
    return "\n".join(lines)


def _opened(model: str | Path) -> tuple[Backbone, dict[str, Any]]:
    """The two towers, and the config of the run that made them, empty where there is none."""
    folder = classifier_folder(Path(model))
    if not (folder / CARD).is_file():
        return load_backbone(str(model)), {}
    classifier = Classifier.from_pretrained(folder)
    return classifier.backbone, dict(classifier.provenance.get("config", {}))


def _chosen(part: str, about: dict[str, Any]) -> Any:
    choice: Any = choose(part, about)
    return choice.plugin(choice.options)


def _images(images: str, own: dict[str, Any]) -> tuple[Task, bool]:
    """The task whose validation images are looked at and whose classes the sentences name; whether labels are known."""
    if images and not Path(images).is_dir():
        return load_task(images), True
    named: Task = _chosen("task", own.get("task", {})).load()
    if not images:
        return named, True
    try:
        return load_task(images), True
    except ValueError:  # no classes there: any images
        return replace(named, validation=_unlabelled(Path(images))), False


def _unlabelled(root: Path) -> Split:
    source = FolderSource(root)
    paths = [path for path in source.files() if Path(path).suffix.lower() in IMAGE_SUFFIXES]
    if not paths:
        raise ValueError(f"--images={root} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    nothing = np.zeros(len(paths), dtype=np.int64)
    return Split("images", source, paths, nothing, nothing - 1)
