"""The main job and the start-up as whole processes.

    python benchmarks/demo.py            `surefoot --help` only
    python benchmarks/demo.py --whole    also a fresh `surefoot compare`, which takes minutes

Prints JSON: seconds of `surefoot --help` (median of nine), seconds and peak memory of the comparison, and whether the
embedded task shows what it must.
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
from pathlib import Path
from typing import Any

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
            found["bands"] = bands(json.loads((Path(folder) / "comparison.json").read_text(encoding="utf-8")))
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # of the largest child, kB on Linux
        found["compare_peak_gb"] = round(peak * (1 if sys.platform != "darwin" else 1 / 1024) / 1024**2, 2)
    print(json.dumps(found, indent=1))


def bands(comparison: dict[str, Any]) -> dict[str, dict[str, float | bool]]:
    """What iconshift must show to be of use, in points: a model that knows, and fine-tuning that forgets."""
    rows = {row["method"]: row for row in comparison["rows"]}
    zero_shot, tuned, wise = (rows[name] for name in ("zero_shot", "fine_tune", "wise_ft"))
    lost_3d = zero_shot["splits"]["emoji_3d"]["accuracy"] - tuned["splits"]["emoji_3d"]["accuracy"]
    measured = {  # name: value, least, most
        "zero_shot_home": (zero_shot["id_accuracy"], 0.60, 0.80),
        "zero_shot_shifts": (zero_shot["shift_accuracy"], 0.45, 1.0),
        "fine_tune_gains_home": (tuned["id_accuracy"] - zero_shot["id_accuracy"], 0.04, 1.0),
        "fine_tune_loses_shifts_to_zero_shot": (zero_shot["shift_accuracy"] - tuned["shift_accuracy"], 0.015, 1.0),
        "fine_tune_loses_shifts_to_wise_ft": (wise["shift_accuracy"] - tuned["shift_accuracy"], 0.03, 1.0),
        "fine_tune_loses_emoji_3d": (lost_3d, 0.05, 1.0),
    }
    return {
        name: {"points": round(100 * value, 1), "reached": least <= value <= most}
        for name, (value, least, most) in measured.items()
    }


def timed(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
