"""Distillation: the student's softmax distributions are kept close to a reference's (the zero-shot model, an average).

The reference receives no gradient. Where student and reference agree, the divergences and their gradients are exactly
zero, not merely small: every one is written in the change of the logits, and the change is made from differences of
features ("subtract first"), so that a small drift is not lost in the rounding of two large logits.
"""

from torch import Tensor

from surefoot.losses.similarity import check_labels, check_pairs, constant, similarity, unit, widen

EXCLUDED = -1e8  # a logit that softmax turns into 0, yet finite: a row with nothing else becomes uniform, not NaN


def context_kl(features: Tensor, reference_features: Tensor, context_weights: Tensor, scale: Tensor | float) -> Tensor:
    """CAR-FT's term: the mean over rows of KL(reference's distribution over contexts || student's).

        p = softmax(scale * reference_features @ context_weights.T), q the same of features
        loss = mean over rows of sum_m p_m (log p_m - log q_m)

    Features unit-norm (N, D) of the same images; context_weights (M, D), the normalised class means of each context's
    prompts. One scale, the frozen model's, on both sides. Only `features` receives a gradient.

    Mao et al., 2022 (arXiv:2211.16175). The authors published no code. Unofficial scripts swap the arguments of the
    KL or leave out the scale, which makes the term vanish; neither is followed here.
    """
    check_pairs(features, reference_features, "features and reference_features")
    reference, weights, fixed = reference_features.detach(), context_weights.detach(), constant(scale)
    logits = similarity(reference, weights, fixed)  # (N, M)
    features, reference = widen(features, reference)
    return _kl(logits, similarity(features - reference, weights, fixed))


def random_text_kl(
    features: Tensor, reference_features: Tensor, text_features: Tensor, scale: Tensor | float
) -> Tensor:
    """`random_text_gap` with a KL in place of the squared gap: `context_kl` over K random texts (K, D).

    A variant of Lipsum-FT (Nam et al., ICLR 2024, arXiv:2404.00860) that ignores a shift common to all texts.
    """
    return context_kl(features, reference_features, text_features, scale)


def spurious_alignment(
    features: Tensor,
    spurious_features: Tensor,
    reference_features: Tensor,
    reference_spurious_features: Tensor,
    scale: Tensor | float,
    labels: Tensor,
) -> Tensor:
    """StarFT's term: for each image, KL(reference || student) over the spurious captions of other classes.

        B = scale * reference_features @ reference_spurious_features.T, A the same of the student
        pairs of equal labels, the diagonal included, are left out of both
        loss = mean over rows of KL(softmax(B) || softmax(A))

    Features unit-norm (N, D); row j of the spurious features is the spurious caption of image j; labels (N). The scale
    is the zero-shot model's on *both* sides, as in the authors' code, and receives no gradient; images and texts of
    the student do. A row whose batch shares its class contributes 0.

    Kim et al., IJCAI 2025 (arXiv:2505.13232): image to text only, unlike the contrastive loss.
    """
    logits, change = _spurious(features, spurious_features, reference_features, reference_spurious_features, scale)
    check_labels(labels, features)
    same = labels[:, None] == labels[None, :]  # (N, N)
    return _kl(logits.masked_fill(same, EXCLUDED), change.masked_fill(same, 0.0))


def spurious_kl(
    features: Tensor,
    spurious_features: Tensor,
    reference_features: Tensor,
    reference_spurious_features: Tensor,
    scale: Tensor | float,
) -> Tensor:
    """`spurious_alignment` over all captions of the batch: no pair is left out, and no labels are needed.

    The `kl` variant of the code of StarFT (arXiv:2505.13232); there too both sides use the zero-shot model's scale.
    """
    return _kl(*_spurious(features, spurious_features, reference_features, reference_spurious_features, scale))


def class_kl(logits: Tensor, reference_logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Knowledge distillation: temperature^2 times the mean over rows of KL(reference || student), both softened.

        loss = t^2 * mean over rows of KL(softmax(reference_logits / t) || softmax(logits / t))

    Logits (N, C) over the classes. Hinton et al., 2015 (arXiv:1503.02531), whose t^2 keeps the gradients' size.
    """
    check_pairs(logits, reference_logits, "logits and reference_logits")
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; give a number above 0 (1 softens nothing)")
    logits, reference = widen(logits, reference_logits.detach())
    return temperature**2 * _kl(reference / temperature, (logits - reference) / temperature)


def self_distillation(logits: Tensor, reference_logits: Tensor) -> Tensor:
    """CaRot's term: soft cross-entropy with the teacher's in-batch similarities, both directions *summed*.

        loss = mean over rows of -sum_j softmax(reference)_j log softmax(logits)_j, plus the same of the transposes

    Logits (N, N), each side with its own scale. A cross-entropy, so the teacher's entropy is included: at
    logits == reference_logits the value is that entropy and the gradient exactly 0.

    Oh et al., NeurIPS 2024 (arXiv:2311.01723), as their code has it. The factor-of-2 trap: their weight of 1.5 belongs
    to this sum, and is 3 for a mean of the two directions. They take log(softmax), which can give NaN; this does not.
    """
    check_pairs(logits, reference_logits, "logits and reference_logits")
    logits, reference = widen(logits, reference_logits.detach())
    change = logits - reference
    return _kl(reference, change) + _entropy(reference) + _kl(reference.T, change.T) + _entropy(reference.T)


def relational_distillation(logits: Tensor, reference_logits: Tensor) -> Tensor:
    """TRACER's contrastive relational term: KL(reference || student) of in-batch similarities (N, N), averaged.

        loss = (KL of the rows + KL of the columns) / 2, each a mean over N

    TRACER (arXiv:2605.29380), following the code: half of CaRot's `self_distillation` less the teacher's entropy. Each
    side has its own scale.
    """
    check_pairs(logits, reference_logits, "logits and reference_logits")
    logits, reference = widen(logits, reference_logits.detach())
    change = logits - reference
    return (_kl(reference, change) + _kl(reference.T, change.T)) / 2


def cross_distillation(
    image_features: Tensor,
    text_features: Tensor,
    reference_image_features: Tensor,
    reference_text_features: Tensor,
    scale: Tensor | float,
    reference_scale: Tensor | float,
) -> Tensor:
    """TRACER's cross term: student images against the teacher's texts, and the reverse, distilled from the teacher.

        R = reference_scale * F_ref @ G_ref.T
        loss = (KL(softmax(R) || softmax(scale * F @ G_ref.T)) + KL(softmax(R.T) || softmax(scale * G @ F_ref.T))) / 2

    Features (N, D), brought to unit norm here; each side has its own scale, and the student's may be trained. Exactly
    zero where features and scales agree. TRACER (arXiv:2605.29380), following the code.
    """
    check_pairs(image_features, reference_image_features, "image_features and reference_image_features")
    check_pairs(text_features, reference_text_features, "text_features and reference_text_features")
    fixed = constant(reference_scale)
    images, reference_images = unit(image_features), unit(reference_image_features.detach())
    texts, reference_texts = unit(text_features), unit(reference_text_features.detach())
    reference = similarity(reference_images, reference_texts, fixed)  # (N, N)
    images_change = similarity(scale * images - fixed * reference_images, reference_texts, 1.0)
    texts_change = similarity(scale * texts - fixed * reference_texts, reference_images, 1.0)
    return (_kl(reference, images_change) + _kl(reference.T, texts_change)) / 2


def _spurious(
    images: Tensor, texts: Tensor, reference_images: Tensor, reference_texts: Tensor, scale: Tensor | float
) -> tuple[Tensor, Tensor]:
    """The reference's logits (N, N) and how the student's differ from them."""
    check_pairs(images, reference_images, "features and reference_features")
    check_pairs(texts, reference_texts, "spurious_features and reference_spurious_features")
    check_pairs(images, texts, "features and spurious_features")
    fixed = constant(scale)
    images, reference_images = widen(images, reference_images.detach())
    texts, reference_texts = widen(texts, reference_texts.detach())
    change = similarity(images - reference_images, texts, fixed) + similarity(
        reference_images, texts - reference_texts, fixed
    )
    return similarity(reference_images, reference_texts, fixed), change


def _kl(reference: Tensor, change: Tensor) -> Tensor:
    """Mean over rows of KL(softmax(reference) || softmax(reference + change)).

    With r = log softmax(reference) and p = exp(r): log sum exp(r + change) - log sum exp(r) - sum p change. The second
    term is 0 but for rounding, and p is divided by its exponential too: so both value and gradient, which is
    softmax(reference + change) - p, vanish to the last bit at change = 0.
    """
    log_p, log_sum = _log_probabilities(reference)
    p = (log_p - log_sum[:, None]).exp()  # (N, M)
    change = change - (p * change).sum(-1, keepdim=True).detach()  # a constant a row changes nothing but the rounding
    moved = (log_p + change).logsumexp(-1)  # (N)
    return (moved - log_sum - (p * change).sum(-1)).mean()


def _entropy(reference: Tensor) -> Tensor:
    log_p, log_sum = _log_probabilities(reference)
    log_p = log_p - log_sum[:, None]
    return -(log_p.exp() * log_p).sum(-1).mean()


def _log_probabilities(logits: Tensor) -> tuple[Tensor, Tensor]:
    log_p = logits.log_softmax(-1)  # (N, M)
    return log_p, log_p.logsumexp(-1)  # (N): the little by which rounding leaves them off the simplex
