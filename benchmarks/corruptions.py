"""Milliseconds an image for each common corruption, on one core.

    python benchmarks/corruptions.py

Prints JSON: for pictures of 224, 64 and 32 pixels, by corruption, the mean over the severities and of all corruptions.
"""

import json
import time

import numpy as np

from surefoot.data.corruptions import ALL, corrupt

REPEATS = 5


def milliseconds(pixels: np.ndarray, name: str) -> float:
    """Of one core: the mean over the severities of the fastest of a few tries."""
    fastest = []
    for severity in range(1, 6):
        times = []
        for index in range(REPEATS):
            start = time.process_time()
            corrupt(pixels, name, severity, index=index)
            times.append(time.process_time() - start)
        fastest.append(min(times))
    return round(1000 * float(np.mean(fastest)), 2)


def main() -> None:
    draw = np.random.default_rng(0)
    found = {}
    for size in (224, 64, 32):
        coarse = draw.integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8)
        pixels = np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))
        found[size] = {name: milliseconds(pixels, name) for name in ALL}
        found[size]["mean"] = round(float(np.mean(list(found[size].values()))), 2)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
