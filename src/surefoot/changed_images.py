"""Images that changed sides between two runs: right before and wrong after, or the reverse."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surefoot.data.scan import thumbnail
from surefoot.data.task import Task
from surefoot.run import Run
from surefoot.run_folder import RunFolder

EXAMPLES = 12  # of each kind, lost and gained


def changed(before: Run, after: Run, task: Task) -> Iterator[dict[str, Any]]:
    """Shifted test images that `before` got right and `after` got wrong ("lost"), and the reverse ("gained").

    Taken in turn from the shifts, the surest wrong answers first: an entry of examples.json each.
    """
    old, new = RunFolder(before.folder).predictions(), RunFolder(after.folder).predictions()
    for change, right, wrong in (("lost", old, new), ("gained", new, old)):
        queues = {name: _surest(right, wrong, name).tolist() for name in task.shifts or (task.home,)}
        for split, index in _in_turn(queues, most=EXAMPLES):
            yield {
                "split": split,
                "index": index,
                "label": task.classes[task.tests[split].labels[index]],
                "image": thumbnail(task.tests[split], index),
                "zero_shot": {"top": _top(old, split, index, task)},
                "fine_tuned": {"method": after.results["method"], "top": _top(new, split, index, task)},
                "change": change,
            }


def _surest(right: Mapping[str, NDArray[Any]], wrong: Mapping[str, NDArray[Any]], split: str) -> NDArray[np.int64]:
    """Positions that the first has right and the second wrong, the second's most confident errors first."""
    labels = right[f"{split}.label"]
    differ = (right[f"{split}.prediction"] == labels) & (wrong[f"{split}.prediction"] != labels)
    found = np.flatnonzero(differ)
    return found[np.argsort(-wrong[f"{split}.confidence"][found], kind="stable")]


def _in_turn(queues: Mapping[str, list[int]], *, most: int) -> Iterator[tuple[str, int]]:
    """One of each queue, then again, up to `most`."""
    longest = max(map(len, queues.values()), default=0)
    turns = ((name, queue[i]) for i in range(longest) for name, queue in queues.items() if i < len(queue))
    yield from (turn for turn, _ in zip(turns, range(most), strict=False))


def _top(predictions: Mapping[str, NDArray[Any]], split: str, index: int, task: Task) -> list[tuple[str, float]]:
    classes, confidences = predictions[f"{split}.top"][index], predictions[f"{split}.top_confidence"][index]
    return [(task.classes[c], round(float(p), 4)) for c, p in zip(classes, confidences, strict=True)]
