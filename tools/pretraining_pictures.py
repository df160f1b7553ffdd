"""Draw pre-training batches: icons in captioned colours on captioned backgrounds, a little scaled and shifted."""

import json
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from backgrounds import PHRASES, texture
from captions import COLOURS, caption
from iconclip_model import MEAN, SIZE, STD

TEXTURES_A_KIND = 160
TEXTURE_SIZE = 96
COLOURED_WEIGHT = 2.5
RARE_NAME_WEIGHT, COMMON_NAME_WEIGHT = 0.15, 2.0


class PretrainingPictures:
    """Endless captioned pictures from the arrays of `build_pretraining_data.py`, without the rows in `left_out`."""

    def __init__(self, folder: Path, left_out: set[int]):
        records = json.loads((folder / "icons.json").read_text())
        self.records = [record for row, record in enumerate(records) if row not in left_out]
        self.mono = np.load(folder / "mono.npy", mmap_mode="r")
        self.colour = np.load(folder / "colour.npy", mmap_mode="r")
        concepts = {}
        self.concept_ids = torch.tensor([concepts.setdefault(r["concept"], len(concepts)) for r in self.records])
        self.concepts = list(concepts)
        self.weights = self._weights()
        self.kinds = list(PHRASES)
        self.textures = [
            np.stack([texture(kind, TEXTURE_SIZE, seed) for seed in range(TEXTURES_A_KIND)]) for kind in self.kinds
        ]
        self.texture_means = [bank.mean((0, 1, 2)) for bank in self.textures]

    def _weights(self) -> torch.Tensor:
        """Return how often each icon is drawn: coloured ones more, and the more, the more sets know its name."""
        sets = {}
        for record in self.records:
            sets.setdefault(record["concept"], set()).add(record["set"])
        weights = []
        for record in self.records:
            known = len(sets[record["concept"]])
            weight = RARE_NAME_WEIGHT if known < 3 else 1.0 if known < 10 else COMMON_NAME_WEIGHT
            scarce = record["coloured"] or record["style"] in ("emoji_mono", "pixel", "freehand")
            weights.append(weight * (COLOURED_WEIGHT if scarce else 1.0))
        return torch.tensor(weights)

    def batch(self, size: int, seed: int, *, textured: float) -> tuple[torch.Tensor, list[str], torch.Tensor]:
        """Return images (N, 3, 64, 64), captions, and concept numbers (N); the same seed gives the same batch.

        `textured` is the share of pictures on a texture; with 0 all are black (or in their own colours) on white, so
        that only the drawing tells the pictures of a batch apart.
        """
        rng = random.Random(seed)
        generator = torch.Generator().manual_seed(seed)
        rows = torch.multinomial(self.weights, size, replacement=True, generator=generator)
        rows = sorted(rows.tolist(), key=lambda row: self.records[row]["coloured"])
        records = [self.records[row] for row in rows]
        shades = sum(not record["coloured"] for record in records)
        inks, names, behind, plain = self._choose(records, textured, rng)
        alpha = torch.from_numpy(self.mono[[r["row"] for r in records[:shades]]]).float()[:, None] / 255
        colour = torch.from_numpy(self.colour[[r["row"] for r in records[shades:]]]).permute(0, 3, 1, 2).float() / 255
        colour[:, :3] *= colour[:, 3:]
        grid = self._grid(size, generator)
        alpha = F.grid_sample(alpha, grid[:shades], align_corners=False)
        colour = F.grid_sample(colour, grid[shades:], align_corners=False)
        ink = torch.tensor(inks[:shades]).view(-1, 3, 1, 1) / 255
        pictures = torch.cat([ink * alpha, colour[:, :3]])
        covered = torch.cat([alpha, colour[:, 3:]])
        pictures = pictures + (1 - covered) * self._backgrounds(behind, plain, rng)
        texts = [
            caption(record["concept"], record["style"], name, kind, rng)
            for record, name, kind in zip(records, names, behind, strict=True)
        ]
        return (pictures - MEAN) / STD, texts, self.concept_ids[rows]

    def _choose(
        self, records: list[dict], textured: float, rng: random.Random
    ) -> tuple[list, list[str], list[str], list]:
        """Draw each picture's background and ink; without textures, all are black on white."""
        inks, names, behind, plain = [], [], [], []
        for record in records:
            draw = rng.random()
            if textured == 0 or textured <= draw < textured + 0.12:
                kind = "white"
            else:
                kind = rng.choice(self.kinds if draw < textured else list(COLOURS))
            under = COLOURS[kind] if kind in COLOURS else self.texture_means[self.kinds.index(kind)]
            if record["coloured"]:
                name, ink = "", (0, 0, 0)
            elif textured == 0 or (kind == "white" and rng.random() < 0.3):
                name, ink = "black", (0, 0, 0)
            else:
                clear = [n for n, c in COLOURS.items() if abs(_brightness(c) - _brightness(under)) > 75]
                plain_ink = [n for n in clear if n in ("black", "white")]
                name = rng.choice(plain_ink if rng.random() < 0.4 else clear)
                ink = COLOURS[name]
            inks.append([float(value) for value in ink])
            names.append(name)
            behind.append(kind)
            plain.append(under)
        return inks, names, behind, plain

    def _grid(self, size: int, generator: torch.Generator) -> torch.Tensor:
        """Return sampling grids that scale each picture by 0.86 to 1.06 and shift it by up to 4 %."""
        scale = 0.86 + 0.2 * torch.rand(size, generator=generator)
        shift = 0.08 * (torch.rand(size, 2, generator=generator) * 2 - 1)
        theta = torch.zeros(size, 2, 3)
        theta[:, 0, 0] = theta[:, 1, 1] = 1 / scale
        theta[:, :, 2] = shift / scale[:, None]
        return F.affine_grid(theta, [size, 1, SIZE, SIZE], align_corners=False)

    def _backgrounds(self, behind: list[str], plain: list, rng: random.Random) -> torch.Tensor:
        """Return (N, 3, 64, 64) in 0..1: plain colours or random cuts of the textures."""
        canvas = np.empty((len(behind), SIZE, SIZE, 3), dtype=np.uint8)
        for row, kind in enumerate(behind):
            if kind in COLOURS:
                canvas[row] = np.array(plain[row], dtype=np.uint8)
                continue
            picture = self.textures[self.kinds.index(kind)][rng.randrange(TEXTURES_A_KIND)]
            top, left = rng.randrange(TEXTURE_SIZE - SIZE), rng.randrange(TEXTURE_SIZE - SIZE)
            cut = picture[top : top + SIZE, left : left + SIZE]
            canvas[row] = cut[:, ::-1] if rng.random() < 0.5 else cut
        return torch.from_numpy(canvas).permute(0, 3, 1, 2).float() / 255


def _brightness(colour: tuple) -> float:
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
