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
from surefoot.data.batch import Batch
from surefoot.losses import contrastive_loss
from surefoot.methods.base import Method, Progress, Stage, gather


class FLYP(Method):
    summary: ClassVar[str] = "Both towers with the contrastive loss of pre-training"
    paper: ClassVar[str] = "arXiv:2212.00638"
    smallest_batch: ClassVar[int] = 2
    stages = (Stage(train=("backbone.",)),)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        images = gather(self.backbone.image(batch.images))  # (B, D)
        texts = gather(self.backbone.encode_text(self.prompts.captions(batch)))  # (B, D)
        return {"contrastive": contrastive_loss(images, texts, self.backbone.scale)}

    def classifier(self) -> Classifier:
        return Classifier.zero_shot(self.backbone, self.prompts)
