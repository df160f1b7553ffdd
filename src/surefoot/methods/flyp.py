"""FLYP: fine-tune as in pre-training, both towers with the contrastive loss (Goyal et al., CVPR 2023, 2212.00638).

    loss = (CE(Z, arange) + CE(Z', arange)) / 2,   Z = exp(s) F G'   over the images' and captions' unit features

A caption is the image's class name in a random template. Images of the same class in a batch are each other's
negatives, as in the authors' code. Both towers, the projections and the scale train, without clipping; at the end the
class weights are made anew by the fine-tuned text tower. The authors go through a list of all (image, template) pairs;
here each image meets a freshly drawn template in each epoch.
"""

from typing import ClassVar

from torch import Tensor

from surefoot.classifier import Classifier
from surefoot.methods.base import Method, Seen, Stage, contrast


class FLYP(Method):
    summary: ClassVar[str] = "Both towers with the contrastive loss of pre-training"
    paper: ClassVar[str] = "arXiv:2212.00638"
    smallest_batch = 2
    stages = (Stage(train=("backbone.",)),)

    def losses(self, seen: Seen) -> dict[str, Tensor]:
        return contrast(seen, self.prompts)

    def classifier(self) -> Classifier:
        return Classifier.zero_shot(self.backbone, self.prompts)
