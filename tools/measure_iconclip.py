"""Measure IconCLIP on IconShift: zero-shot, plain fine-tuning of the image tower and head, and their WiSE-FT blend.

Plain fine-tuning is AdamW at 3e-4 with warm-up and cosine, 10 epochs of batch 128, random crops of 90 to 100 % of the
area, no flips; the head starts from the zero-shot weights. WiSE-FT is the average of both models' weights. Nothing is
tuned.
"""

import argparse
import copy
import csv
import io
import json
import math
import time
import zipfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from PIL import Image
from torch import nn
from transformers import AutoTokenizer, CLIPModel

from iconclip_model import MEAN, STD

EPOCHS, BATCH, RATE, DECAY, WARM_UP = 10, 128, 3e-4, 0.1, 13


class ZeroShotClassifier(nn.Module):
    """CLIP's image tower with a linear head on unit features that starts from the class texts' features."""

    def __init__(self, model: CLIPModel, texts: torch.Tensor):
        super().__init__()
        self.vision, self.projection = model.vision_model, model.visual_projection
        scale = model.logit_scale.exp().detach()
        self.head = nn.Linear(texts.shape[1], texts.shape[0])
        with torch.no_grad():
            self.head.weight.copy_(scale * texts)
            self.head.bias.zero_()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (B, C)."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features = self.projection(self.vision(pixel_values=images).pooler_output)
        return self.head(F.normalize(features.float(), dim=-1))


def load(archive: Path) -> tuple[dict, torch.Tensor, list[dict], list[str]]:
    """Return the prompts, all pictures (N, 3, 64, 64), the manifest's rows and the class names."""
    with zipfile.ZipFile(archive) as files:
        prompts = yaml.safe_load(files.read("classes.yaml"))
        rows = list(csv.DictReader(io.TextIOWrapper(files.open("manifest.csv"), encoding="utf-8")))
        pictures = [np.asarray(Image.open(io.BytesIO(files.read(row["path"]))).convert("RGB")) for row in rows]
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    return prompts, (images - MEAN) / STD, rows, [entry["name"] for entry in prompts["classes"]]


@torch.inference_mode()
def class_features(model: CLIPModel, folder: Path, names: list[str], templates: list[str]) -> torch.Tensor:
    """Return (C, D) unit rows: each class's mean over the templates."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [template.format(name) for name in names for template in templates]
    tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    features = model.text_projection(model.text_model(input_ids=tokens["input_ids"]).pooler_output)
    features = F.normalize(features, dim=-1).view(len(names), len(templates), -1).mean(1)
    return F.normalize(features, dim=-1)


def random_crops(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return crops of 90 to 100 % of the area and aspect 3/4 to 4/3 (where they fit), scaled back to full size."""
    size = len(images)
    area = 0.9 + 0.1 * torch.rand(size, generator=generator)
    ratio = torch.exp((torch.rand(size, generator=generator) * 2 - 1) * math.log(4 / 3))
    height = (area / ratio).sqrt()
    width = (area * ratio).sqrt()
    fits = (height <= 1) & (width <= 1)
    height, width = torch.where(fits, height, area.sqrt()), torch.where(fits, width, area.sqrt())
    theta = torch.zeros(size, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = width, height
    theta[:, 0, 2] = (1 - width) * (torch.rand(size, generator=generator) * 2 - 1)
    theta[:, 1, 2] = (1 - height) * (torch.rand(size, generator=generator) * 2 - 1)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bicubic", padding_mode="border", align_corners=False).clamp(-1, 1)


def fine_tune(classifier: ZeroShotClassifier, images: torch.Tensor, labels: torch.Tensor, seed: int) -> None:
    """Train all weights of the classifier by cross-entropy."""
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=RATE, weight_decay=DECAY)
    generator = torch.Generator().manual_seed(seed)
    steps = EPOCHS * math.ceil(len(images) / BATCH)
    step = 0
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images), generator=generator).split(BATCH):
            fall = 0.5 + 0.5 * math.cos(math.pi * max(0, step - WARM_UP) / (steps - WARM_UP))
            optimizer.param_groups[0]["lr"] = RATE * min((step + 1) / WARM_UP, fall)
            loss = F.cross_entropy(classifier(random_crops(images[rows], generator)), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1


@torch.inference_mode()
def accuracies(classifier: ZeroShotClassifier, images: torch.Tensor, labels: torch.Tensor, domains: dict) -> dict:
    """Return the accuracy in % on each domain's test split, and the mean over the shifts."""
    result = {}
    for domain, rows in domains.items():
        right = [classifier(images[part]).argmax(-1) == labels[part] for part in rows.split(512)]
        result[domain] = 100 * torch.cat(right).float().mean().item()
    shifts = [accuracy for domain, accuracy in result.items() if domain != "line"]
    return {**result, "mean shift": sum(shifts) / len(shifts)}


def main() -> None:
    """Print a table of accuracies, one line a method and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="IconCLIP's folder")
    parser.add_argument("archive", type=Path, help="iconshift.zip")
    parser.add_argument("--seeds", type=int, default=1, help="0 for zero-shot only")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--errors", type=int, default=0, help="print the zero-shot model's so many worst classes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    prompts, images, rows, names = load(options.archive)
    labels = torch.tensor([names.index(row["label"]) for row in rows])
    domains = {}
    for place, row in enumerate(rows):
        if row["split"] == "test":
            domains.setdefault(row["domain"], []).append(place)
    order = sorted(domains, key=lambda domain: (domain != "line", domain))
    domains = {domain: torch.tensor(domains[domain]) for domain in order}
    train = torch.tensor([place for place, row in enumerate(rows) if row["split"] == "train"])
    print(json.dumps({"classes": len(names), "train": len(train), **{d: len(r) for d, r in domains.items()}}))
    model = CLIPModel.from_pretrained(options.model, dtype=torch.float32).eval()
    texts = class_features(model, options.model, names, prompts["templates"])
    zero_shot = ZeroShotClassifier(model, texts)
    show("zero-shot", accuracies(zero_shot, images, labels, domains))
    for seed in range(options.seeds):
        start = time.monotonic()
        tuned = copy.deepcopy(zero_shot)
        fine_tune(tuned, images[train], labels[train], seed)
        show(f"FT seed {seed}", accuracies(tuned, images, labels, domains), time.monotonic() - start)
        blend = copy.deepcopy(zero_shot)
        ours, theirs = zero_shot.state_dict(), tuned.state_dict()
        blend.load_state_dict({key: (value + theirs[key]) / 2 for key, value in ours.items()})
        show(f"WiSE-FT .5 seed {seed}", accuracies(blend, images, labels, domains))
    if options.errors:
        show_worst(zero_shot, images, labels, domains, names, options.errors)


def show(name: str, result: dict, seconds: float = 0) -> None:
    """Print one line of the table."""
    cells = "  ".join(f"{domain} {value:5.1f}" for domain, value in result.items())
    print(f"{name:18s} {cells}  {seconds:.0f} s", flush=True)


@torch.inference_mode()
def show_worst(
    classifier: nn.Module, images: torch.Tensor, labels: torch.Tensor, domains: dict, names: list, count: int
) -> None:
    """Print the classes that the model gets wrong most at home and over the shifts."""
    places = torch.cat(list(domains.values()))
    right = torch.cat([classifier(images[part]).argmax(-1) == labels[part] for part in places.split(512)]).float()
    per_class = {name: right[labels[places] == index].mean().item() for index, name in enumerate(names)}
    print({name: round(share, 2) for name, share in sorted(per_class.items(), key=lambda item: item[1])[:count]})


if __name__ == "__main__":
    main()
