"""The main job and the start-up as whole processes.

    python benchmarks/demo.py            `surefoot --help` only
    python benchmarks/demo.py --whole    also a fresh `surefoot compare`, which takes minutes

Prints JSON: seconds of `surefoot --help` (median of nine), and seconds and peak memory of the comparison.
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time

SUREFOOT = [sys.executable, "-m", "surefoot"]


def main() -> None:
    help_times = [timed([*SUREFOOT, "--help"]) for _ in range(10)][1:]
    found = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "help_s": round(statistics.median(help_times), 3),
    }
    if "--whole" in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            found["compare_s"] = round(timed([*SUREFOOT, "compare", "-o", folder]), 1)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # of the largest child, kB on Linux
        found["compare_peak_gb"] = round(peak * (1 if sys.platform != "darwin" else 1 / 1024) / 1024**2, 2)
    print(json.dumps(found, indent=1))


def timed(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
