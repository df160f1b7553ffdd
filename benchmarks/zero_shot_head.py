"""What the head for 1,000 classes in 80 templates costs: a class at a time in full-length rows, ours, from the disk.

    python benchmarks/zero_shot_head.py [--classes 10] [--whole]

Text tower and tokenizer of the size of CLIP ViT-B/32 (12 layers of 512, 77 tokens, 49,408 ids) with random weights.
By default both ways encode a part of the classes, and the times for 1,000 are that part's times 1,000 / part; --whole
encodes all of them. Prints JSON; the time from the disk is of all that was encoded. Sentences are the embedded word
list in the templates below, so that their lengths are those of short English sentences.
"""

import argparse
import json
import os
import tempfile
import time
from itertools import product
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

import surefoot
from surefoot.backbones.base import Backbone, Tokenizer
from towers import CONTEXT, Towers

CLASSES, TEMPLATES = 1000, 80
KINDS = ("photo", "bad photo", "drawing", "painting", "sketch", "close-up photo", "black and white photo", "rendering")
FORMS = (
    "a {k} of a {{}}.", "the {k} of the {{}}.", "a {k} of one {{}}.", "a {k} of many {{}}.", "a {k} of a small {{}}.",
    "a {k} of a large {{}}.", "a {k} of the hard to see {{}}.", "a {k} of my {{}}.", "a {k} of a nice {{}}.",
    "a {k} of a {{}} in a video game.",
)  # fmt: skip


class Pieces(Tokenizer):
    """A piece for every four letters, as a byte-pair tokenizer has about one a word."""

    context, end, pad, size, special = CONTEXT, 49407, 49407, 49408, frozenset({49406, 49407})

    def encode(self, texts: "list[str]") -> list[list[int]]:  # type: ignore[override]
        return [
            [49406, *(hash_of(w[i : i + 8]) for w in text.split() for i in range(0, len(w), 8)), 49407]
            for text in texts
        ]


def hash_of(piece: str) -> int:
    value = 0
    for letter in piece:
        value = (value * 131 + ord(letter)) % 49_000
    return value


@torch.no_grad()
def one_class_at_a_time(backbone: Backbone, sentences: list[list[str]]) -> Tensor:
    """As published code does it: a class's sentences in rows of the whole context, then their normalised mean."""
    rows = []
    for group in sentences:
        ids = backbone.tokenizer.encode(group)
        tokens = torch.tensor([[*row, *[backbone.tokenizer.pad] * (CONTEXT - len(row))] for row in ids])  # (80, 77)
        rows.append(F.normalize(backbone.text(tokens).mean(0), dim=0))
    return torch.stack(rows)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--classes", type=int, default=10)
    arguments.add_argument("--whole", action="store_true")
    given = arguments.parse_args()
    part = CLASSES if given.whole else given.classes
    words = (Path(surefoot.__file__).parent / "assets" / "words.txt").read_text(encoding="utf-8").split()
    templates = [form.format(k=kind) for kind, form in product(KINDS, FORMS)]
    names = [" ".join(words[i : i + 1 + i % 2]) for i in range(0, 3 * part, 3)]  # of one or two words
    sentences = [[template.replace("{}", name) for template in templates] for name in names]
    backbone = Towers(tokenizer=Pieces()).eval()
    os.environ["SUREFOOT_CACHE"] = "off"
    backbone.zero_shot_weights([group[:8] for group in sentences[:2]])  # the first call also sets up
    start = time.perf_counter()
    plain = one_class_at_a_time(backbone, sentences)
    naive = time.perf_counter() - start
    start = time.perf_counter()
    ours = backbone.zero_shot_weights(sentences)
    batched = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SUREFOOT_CACHE"] = folder
        kept = backbone.zero_shot_weights(sentences * (1 + 1000 // (80 * part)))  # at least as many as are kept
        start = time.perf_counter()
        found = backbone.zero_shot_weights(sentences * (1 + 1000 // (80 * part)))
        from_disk = time.perf_counter() - start
    lengths = [len(row) for group in sentences for row in backbone.tokenizer.encode(group)]
    result = {
        "classes": CLASSES,
        "templates": len(templates),
        "classes_encoded": part,
        "mean_tokens": round(sum(lengths) / len(lengths), 1),
        "longest_tokens": max(lengths),
        "threads": torch.get_num_threads(),
        "one_class_at_a_time_s": round(naive * CLASSES / part, 1),
        "ours_s": round(batched * CLASSES / part, 1),
        "times_faster": round(naive / batched, 2),
        "from_disk_s": round(from_disk, 2),
        "largest_difference": float((plain - ours).abs().max()),
        "from_disk_equal": bool(torch.equal(kept, found)),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
