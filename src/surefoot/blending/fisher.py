"""How much each weight of a classifier matters to what it predicts: the diagonal of its Fisher information."""

from contextlib import closing

import numpy as np
import torch
from torch import Tensor, distributed

from surefoot.backbones.base import evaluating
from surefoot.classifier import Classifier
from surefoot.data.batch import DataConfig, evaluation_batches
from surefoot.data.draws import label_draws, permutation
from surefoot.data.task import Split
from surefoot.evaluation.evaluate import Processes

PREDICTING = ("backbone.image.", "head.")  # the text tower makes no prediction


def fisher_information(
    classifier: Classifier, split: Split, data: DataConfig, processes: Processes, *, images: int, seed: int
) -> dict[str, Tensor]:
    """Mean over `images` of the split of the squared gradient of log p(y | image), y drawn from p(. | image).

    By the name of each parameter of the image tower and the head, float32, on the CPU. The images are drawn by the seed
    (all, where there are no more) and go through the evaluation transform one by one: a batch would give the square of
    its mean gradient. Labels are drawn by a hash of seed and image, whatever the number of processes.
    """
    chosen = permutation(len(split), seed=seed, epoch=0)[:images]
    one_by_one = data.model_copy(update={"eval_batch_size": 1})
    rank, world = processes.global_rank, processes.world_size
    stream = evaluation_batches(
        split.subset(chosen), classifier.backbone.image_spec, one_by_one, rank=rank, world_size=world
    )
    weights = {name: weight for name, weight in classifier.named_parameters() if name.startswith(PREDICTING)}
    squares = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    with evaluating(classifier), closing(stream):
        for batch in stream:
            logits = classifier(batch.images.to(processes.device))[0]  # (C)
            log_probabilities = logits.log_softmax(-1)
            label = _drawn(log_probabilities, share=float(label_draws(seed, chosen[batch.index.numpy()])[0]))
            gradients = torch.autograd.grad(log_probabilities[label], list(weights.values()), materialize_grads=True)
            for square, gradient in zip(squares.values(), gradients, strict=True):
                square.addcmul_(gradient, gradient)
    for square in squares.values():
        if world > 1:
            distributed.all_reduce(square)
        square /= len(chosen)
    return {name: square.cpu() for name, square in squares.items()}


def _drawn(log_probabilities: Tensor, *, share: float) -> int:
    """The class (0 to C - 1) at `share`, in [0, 1), of the probabilities laid end to end."""
    ends = np.cumsum(log_probabilities.detach().double().exp().cpu().numpy())  # (C)
    return int(np.searchsorted(ends, share * ends[-1], side="right"))
