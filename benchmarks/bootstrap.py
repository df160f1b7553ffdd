"""Seconds of a paired bootstrap of 12 methods on 8 splits of 10,000 examples, 2,000 resamples.

    python benchmarks/bootstrap.py

Prints JSON.
"""

import json
import time

import numpy as np

from surefoot.report.statistics import bootstrap

METHODS, SPLITS, EXAMPLES, RESAMPLES = 12, 8, 10_000, 2_000


def main() -> None:
    draw = np.random.default_rng(0)
    correct = draw.random((SPLITS, METHODS, EXAMPLES)) < 0.7
    start, began = time.perf_counter(), time.process_time()
    for number, split in enumerate(correct):
        bootstrap(split, resamples=RESAMPLES, seed=number)
    seconds = round(time.perf_counter() - start, 2)
    processor = round(time.process_time() - began, 2)
    about = {"methods": METHODS, "splits": SPLITS, "examples": EXAMPLES, "resamples": RESAMPLES}
    print(json.dumps({**about, "seconds": seconds, "processor_seconds": processor}))


if __name__ == "__main__":
    main()
