"""The loader against the plain Pillow chain: open, convert, crop, resize, to tensor, normalise; the same worker count.

    python benchmarks/loader.py [--images 384] [--rounds 5] [--workers 2]

Both read the same JPEGs (noise with the spectrum of photographs, 0.2 bytes a pixel) and are timed in turns; the medians
count. One process is measured in CPU time, which other programs on the machine disturb least; workers by the clock.
Prints JSON: milliseconds an image, and how many times faster the loader is. Targets: no slower on 500 x 375, at least
3 times faster on 2000 x 1500.
"""

import argparse
import io
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
import PIL
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from surefoot.data.batch import DataConfig, evaluation_batches, training_batches
from surefoot.data.images import Crop, ImageSpec, evaluation_box, random_box
from surefoot.data.task import Split

SPEC = ImageSpec(224, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711), 224)
BATCH = 16
Batches = Callable[[], Iterable[object]]
SIZES = {"500x375": (500, 375, 1.0), "2000x1500": (2000, 1500, 3.0)}  # width, height, target


class Memory:
    """Files in memory, so that no disk is measured."""

    def __init__(self, files: list[bytes]) -> None:
        self.files = files

    def read(self, path: str) -> bytes:
        return self.files[int(path) % len(self.files)]

    def describe(self) -> str:
        return "memory"


class PlainChain(Dataset[Tensor]):
    """What a training script without care does for each image."""

    def __init__(self, source: Memory, count: int, *, augment: bool) -> None:
        self.source, self.count, self.augment = source, count, augment
        self.mean, self.std = (torch.tensor(values).view(3, 1, 1) for values in (SPEC.mean, SPEC.std))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        image = Image.open(io.BytesIO(self.source.read(str(index)))).convert("RGB")
        if self.augment:
            crop = Crop((0.9, 1.0), (3 / 4, 4 / 3), False, np.random.default_rng(index).random(41))
            image = image.crop(tuple(map(int, random_box(*image.size, crop))))
            image = image.resize((SPEC.size, SPEC.size), Image.Resampling.BICUBIC)
        else:
            image = image.crop(tuple(map(round, evaluation_box(*image.size, SPEC))))
            image = image.resize((SPEC.size, SPEC.size), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
        return pixels.sub(self.mean).div(self.std)


def photograph(width: int, height: int, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    pixels = rng.normal(scale=2.5, size=(height, width, 3))
    for scale in (2, 4, 8, 16, 32, 64, 128):
        coarse = rng.normal(size=(3, height // scale + 2, width // scale + 2)).astype(np.float32)
        grown = [Image.fromarray(layer).resize((width, height), Image.Resampling.BICUBIC) for layer in coarse]
        pixels += np.stack([np.asarray(layer) for layer in grown], axis=-1) * 2.2 * scale**0.8
    file = io.BytesIO()
    Image.fromarray((pixels + 128).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def seconds(make: Batches, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in make():
        pass
    return clock() - start


def compare(plain: Batches, ours: Batches, *, images: int, rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    times = [(seconds(plain, clock), seconds(ours, clock)) for _ in range(rounds + 1)]  # the first one warms up
    plain_ms, our_ms = (statistics.median(column) / images * 1e3 for column in zip(*times[1:], strict=True))
    ratio = statistics.median(a / b for a, b in times[1:])
    return {"plain_ms": round(plain_ms, 2), "loader_ms": round(our_ms, 2), "times_faster": round(ratio, 2)}


def measure(name: str, images: int, rounds: int, workers: int) -> dict[str, object]:
    width, height, target = SIZES[name]
    source = Memory([photograph(width, height, seed) for seed in range(4)])
    count = np.zeros(images, dtype=np.int64)
    split = Split(name, source, [str(i) for i in range(images)], count, count)

    def plain(workers: int, *, augment: bool) -> Batches:
        return lambda: DataLoader(PlainChain(source, images, augment=augment), BATCH, num_workers=workers)

    def training() -> Iterator[object]:
        batches = training_batches(split, SPEC, DataConfig(workers=0), batch_size=BATCH, seed=0)
        return islice(batches, images // BATCH)

    def evaluation() -> Iterator[object]:
        return evaluation_batches(split, SPEC, DataConfig(workers=workers, eval_batch_size=BATCH))

    return {
        "bytes": len(source.files[0]),
        "target": target,
        "training_one_process": compare(
            plain(0, augment=True), training, images=images, rounds=rounds, clock=time.process_time
        ),
        f"evaluation_{workers}_workers": compare(
            plain(workers, augment=False), evaluation, images=images, rounds=rounds, clock=time.perf_counter
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)  # the chain and the loader on equal terms: one core a process
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Pillow {PIL.__version__}, torch {torch.__version__}",
        **{name: measure(name, options.images, options.rounds, options.workers) for name in SIZES},
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
