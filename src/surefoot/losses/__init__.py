"""Loss functions for anybody's loop: pure, torch only, tensors in and a scalar out.

Features are unit-norm (N, D), one row an example; `scale` is the multiplier, CLIP's exp(logit_scale). Every loss is
made in at least float32, whatever its inputs and autocast, and is finite, gradients included, for a batch of one and
for a batch of one class.
"""

from surefoot.losses.contrastive import contrastive_loss, cross_contrastive, mpm_nce
from surefoot.losses.divergence import (
    class_kl,
    context_kl,
    cross_distillation,
    random_text_kl,
    relational_distillation,
    self_distillation,
    spurious_alignment,
    spurious_kl,
)
from surefoot.losses.penalty import cross_projection_norm, feature_distance, orthogonality, random_text_gap
from surefoot.losses.similarity import similarity

__all__ = [
    "class_kl",
    "context_kl",
    "contrastive_loss",
    "cross_contrastive",
    "cross_distillation",
    "cross_projection_norm",
    "feature_distance",
    "mpm_nce",
    "orthogonality",
    "random_text_gap",
    "random_text_kl",
    "relational_distillation",
    "self_distillation",
    "similarity",
    "spurious_alignment",
    "spurious_kl",
]
