"""A CLIP classifier as transformers' own `CLIPForImageClassification`, which has no room for CLIP's head.

That class averages the patches' last states and multiplies by a matrix. Surefoot's head sees only the class token,
after a layer norm, a projection and a division by the length. So the exported network computes it in two more layers:

1. The width grows by one head's. The new channels hold the mean of the others, so that every layer norm stays what it
   was (up to a factor, which goes into its weights). In four of them the class token carries a mark of +-`MARK`.
2. In the first new layer every token looks for the mark, finds the class token, and adds `BIG` times its projected
   features to itself: beside them what was there vanishes in float32.
3. In the second the layer norm divides by their length, and `BIG`^2 times the result is added.
4. Averaging the patches, now all equal, changes nothing; the matrix holds head, scale and temperature.

Exact but for float32 rounding and the mark's share of the variances (1e-7). For inference in float32 only: half
precision overflows, and training would tear it apart.
"""

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surefoot.classifier import Head
from surefoot.exporting.head import folded
from surefoot.exporting.source import Source
from surefoot.pretrained import no_progress_bars

if TYPE_CHECKING:
    from transformers import CLIPForImageClassification, CLIPModel

BIG = 1e9  # beside BIG * features (about 1 each) states (up to about 1000) are below float32's resolution
MARK = 3e-3  # 4 * MARK^2 / width is the share it has in a variance; 1e4 times the rounding noise of its channels
SMALL = 3e-3  # the part of the new channels that is no mean, before the first layer norm; see _embeddings
SHARP = 1e6  # of the search for the mark: states with a standard deviation up to 50 still give a one-hot attention


def write(source: Source, folder: Path) -> list[str]:
    """Write the model and its image processor: `pipeline("image-classification", model=folder)` opens it."""
    from transformers import CLIPProcessor

    classifier = source.classifier
    wide = as_image_classifier(source.clip("image-classification"), classifier.head, temperature=classifier.temperature)
    wide.config.id2label = dict(enumerate(classifier.classes))
    wide.config.label2id = {name: number for number, name in enumerate(classifier.classes)}
    wide.config.problem_type = "single_label_classification"
    said = source.check("image-classification", lambda images: F.softmax(wide(pixel_values=images).logits, dim=-1))
    with no_progress_bars():
        wide.save_pretrained(folder)
    CLIPProcessor.from_pretrained(source.folder).image_processor.save_pretrained(folder)
    return [
        said,
        "for inference in float32: half precision overflows, and it is no start for training (take the run's own "
        "classifier/ for that)",
    ]


def as_image_classifier(model: "CLIPModel", head: Head, *, temperature: float) -> "CLIPForImageClassification":
    """The network, in eval mode: softmax of its logits are the classifier's calibrated probabilities.

    Raises ValueError where the towers' sizes leave no room (a head of fewer than 4 channels or of a number that is not
    a multiple of 4, features wider than the image tower).
    """
    from transformers import CLIPForImageClassification

    old = model.config.vision_config
    size = old.hidden_size // old.num_attention_heads
    width = old.hidden_size + size
    if size % 4 or width <= model.config.projection_dim:
        raise ValueError(
            f"to=image-classification: the image tower has {old.hidden_size} channels in heads of {size} and "
            f"{model.config.projection_dim} features; this format needs heads of a multiple of 4 channels and no more "
            "features than channels. Use --to onnx"
        )
    config = copy.deepcopy(model.config)
    config.num_labels = len(head.weight)
    config.vision_config.hidden_size = width
    config.vision_config.num_attention_heads = old.num_attention_heads + 1
    config.vision_config.num_hidden_layers = old.num_hidden_layers + 2
    config.vision_config.layer_norm_eps = old.layer_norm_eps * old.hidden_size / width
    config.dtype = config.vision_config.dtype = torch.float32
    wide = CLIPForImageClassification(config).float().eval()
    with torch.no_grad():
        _fill(wide, model, head, temperature)
    return wide


def _fill(wide: "CLIPForImageClassification", model: "CLIPModel", head: Head, temperature: float) -> None:
    for parameter in wide.parameters():
        parameter.zero_()
    tower: Any = model.vision_model
    new: Any = wide.vision_model
    _embeddings(new, tower)
    for layer, theirs in zip(new.encoder.layers, tower.encoder.layers, strict=False):
        _copy_layer(layer, theirs)
    _norm(new.post_layernorm, tower.post_layernorm)  # not in the logits; so that no weight is left at 0
    first, second = new.encoder.layers[-2:]
    directions = _centred_directions(len(first.layer_norm1.weight), model.config.projection_dim).float()
    _gather(first, tower, directions @ model.visual_projection.weight)
    weight, bias = folded(head, temperature)
    if head.convention == "linear":  # on features as they are: the second layer is not needed
        _idle(second)
        wide.classifier.weight.copy_(weight @ directions.T / BIG)
    else:
        _divide_by_length(second)
        wide.classifier.weight.copy_(weight @ directions.T / (BIG * BIG * len(directions) ** 0.5))
    wide.classifier.bias.copy_(bias)


def _embeddings(new: Any, old: Any) -> None:
    """Patches, class token and positions with their means in the new channels, through the first layer norm.

    After it channel i is w_i * (x_i - mean) / std + b_i, whose mean over i is the mean of (w_i - mean w) * x_i / std
    plus that of b: linear in x but for std. So the new channels hold the mean of x plus or minus SMALL times that sum,
    which hardly changes mean and variance, and their weights in the layer norm are +-1 / SMALL.
    """
    norm = old.pre_layrnorm
    count, extra = len(norm.weight), len(new.pre_layrnorm.weight) - len(norm.weight)
    sign = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(extra // 2)  # (extra)
    spread = (norm.weight.double() - norm.weight.double().mean()) / count  # (width)

    def widened(values: Tensor) -> Tensor:
        """(width, ...) -> (width + extra, ...)."""
        flat = values.double().flatten(1)
        mean, tilt = flat.mean(0), spread @ flat
        return torch.cat([flat, mean + SMALL * sign[:, None] * tilt]).view(-1, *values.shape[1:]).float()

    new.embeddings.patch_embedding.weight.copy_(widened(old.embeddings.patch_embedding.weight))
    new.embeddings.position_embedding.weight.copy_(widened(old.embeddings.position_embedding.weight.T).T)
    start = old.embeddings.class_embedding
    new.embeddings.class_embedding.copy_(widened(start[:, None]).squeeze(1))
    std = (start + old.embeddings.position_embedding.weight[0]).double().var(correction=0).add(norm.eps).sqrt()
    mark = torch.tensor([1, 1, -1, -1]) * (MARK * SMALL * std.float())  # the signs below make it +, -, -, +
    new.embeddings.class_embedding[count : count + 4] += mark
    _norm(new.pre_layrnorm, norm)
    new.pre_layrnorm.weight[count:] = (count / (count + extra)) ** 0.5 * sign / SMALL
    new.pre_layrnorm.bias[count:] = norm.bias.mean()


def _norm(new: nn.LayerNorm, old: nn.LayerNorm) -> None:
    """The old layer norm over the wider states: channels that hold the mean add no variance, only to its divisor."""
    count = len(old.weight)
    new.weight[:count] = old.weight * (count / len(new.weight)) ** 0.5
    new.bias[:count] = old.bias


def _copy_layer(new: Any, old: Any) -> None:
    width, wide = len(old.layer_norm1.weight), len(new.layer_norm1.weight)
    _norm(new.layer_norm1, old.layer_norm1)
    _norm(new.layer_norm2, old.layer_norm2)
    for name in ("q_proj", "k_proj", "v_proj"):
        there, here = getattr(new.self_attn, name), getattr(old.self_attn, name)
        there.weight[:width, :width] = here.weight
        there.bias[:width] = here.bias
    new.mlp.fc1.weight[:, :width] = old.mlp.fc1.weight
    new.mlp.fc1.bias.copy_(old.mlp.fc1.bias)
    for there, here in ((new.self_attn.out_proj, old.self_attn.out_proj), (new.mlp.fc2, old.mlp.fc2)):
        there.weight[:width, : here.weight.shape[1]] = here.weight
        there.weight[width:, : here.weight.shape[1]] = here.weight.double().mean(0).float()
        there.bias[:width] = here.bias
        there.bias[width:] = here.bias.double().mean().float().expand(wide - width)


def _gather(layer: Any, old: Any, projection: Tensor) -> None:
    """Every token adds BIG * projection (wide, width) of the class token's state after the last layer norm."""
    width, wide = len(old.post_layernorm.weight), len(layer.layer_norm1.weight)
    _norm(layer.layer_norm1, old.post_layernorm)
    layer.layer_norm1.weight[width:] = 1
    layer.layer_norm2.weight.fill_(1)
    attention = layer.self_attn
    for head in range(0, wide, wide // attention.num_heads):
        attention.q_proj.bias[head] = SHARP
        attention.k_proj.weight[head, width : width + 4] = torch.tensor([1.0, -1.0, -1.0, 1.0])
    attention.v_proj.weight.copy_(torch.eye(wide))
    attention.v_proj.weight[width:] = 0
    attention.out_proj.weight[:, :width] = BIG * projection


def _divide_by_length(layer: Any) -> None:
    """Every token adds BIG^2 times its state divided by its standard deviation."""
    layer.layer_norm1.weight.fill_(1)
    layer.layer_norm2.weight.fill_(1)
    layer.self_attn.v_proj.weight.copy_(torch.eye(len(layer.layer_norm1.weight)))
    layer.self_attn.out_proj.weight.copy_(BIG * BIG * torch.eye(len(layer.layer_norm1.weight)))


def _idle(layer: Any) -> None:
    layer.layer_norm1.weight.fill_(1)
    layer.layer_norm2.weight.fill_(1)


def _centred_directions(width: int, count: int) -> Tensor:
    """`count` orthonormal columns (width, count) of mean 0: a layer norm divides what they span by its length.

    The reflection that takes the first axis to the direction of equal channels takes the others there.
    """
    first = torch.full((width,), width**-0.5, dtype=torch.float64)
    normal = first.clone()
    normal[0] -= 1
    normal /= normal.norm()
    reflection = torch.eye(width, dtype=torch.float64) - 2 * torch.outer(normal, normal)
    return reflection[:, 1 : count + 1]
