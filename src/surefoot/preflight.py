"""`surefoot preflight`: what a run will take, from two real training steps of two sizes, and settings that fit.

The steps run in processes of their own (`probing`). Time and memory are taken as linear in the images of a step; what
is said of other sizes than those that ran is an estimate, and says so.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from surefoot.config import Settings, flatten, resolve
from surefoot.engine.train import EngineConfig, stage_steps, supports_bf16
from surefoot.methods.base import Stage

SCRIPT = "surefoot.probing"
SIZES = (8, 32)  # images of the two probes, where the batch is no smaller
ROOM = 0.9  # share of the memory that a run may take
GIB = 2**30
COPIES = 3  # of the whole batch's images: as read, as kept by the loader, on the device
MATRICES = 8  # (batch, batch) in a loss that compares its images


class DoesNotFitError(ValueError):
    """A probe did not fit."""


@dataclass(frozen=True)
class Probe:
    """One probe: images of the step and of its parts (0: all at once), seconds, of these for reading, peak memory."""

    images: int
    micro_batch: int
    seconds: float
    reading: float
    gib: float
    loading_gib: float


@dataclass(frozen=True)
class About:
    """What the run consists of, as the probes saw it."""

    images: int
    stages: tuple[float, ...]  # shares
    compares: bool  # the images of a batch with each other
    pixels: int  # numbers of an image
    device: str


@dataclass(frozen=True)
class Preflight:
    """The outcome; `gib`, `seconds` and `hours` are estimates for the proposed settings unless `measured`."""

    probes: tuple[Probe, ...]
    about: About
    available_gib: float
    fits: bool
    measured: bool  # the proposal is what a probe ran
    gib: float
    seconds: float
    steps_per_epoch: int
    steps: int
    hours: float
    proposed: Mapping[str, Any]
    notes: tuple[str, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    def text(self) -> str:
        """For the terminal."""
        lines = ["Measured, the second of two steps each:"]
        for probe in self.probes:
            parts = f" in parts of {probe.micro_batch}" if probe.micro_batch else ""
            lines.append(
                f"  {probe.images} images{parts}: {probe.seconds:.3g} s (of these {probe.reading:.2g} s waiting for "
                f"data), peak {probe.gib:.2f} GiB"
            )
        kind = "measured" if self.measured else "estimated"
        lines += [
            f"Memory: {self.gib:.2f} GiB {kind} of {self.available_gib:.2f} GiB available ({self.about.device})",
            f"Time: {self.seconds:.3g} s a step {kind}, {self.steps_per_epoch} steps an epoch, {self.steps} steps: "
            f"{self.hours:.2g} hours without evaluation and checkpoints",
        ]
        lines += [f"Note: {note}" for note in self.notes]
        words = " ".join(f"{name}={value}" for name, value in self.proposed.items())
        return "\n".join([*lines, f"{'Proposed' if self.fits else 'Closest, but too large'}: {words}"])


def preflight(settings: Settings, *, memory_gib: float = 0.0) -> Preflight:
    """Probe the run of `settings` and propose batch, micro-batch and precision for `memory_gib` (0: what is free).

    Raises ValueError where the settings are wrong or a probe fails, DoesNotFitError where the smallest does not fit.
    """
    config = resolve(settings)
    engine = config.engine
    precision = engine.concrete().precision
    notes = []
    if engine.precision == "bf16" and not supports_bf16(engine.accelerator):
        precision = "32"
        notes.append("this machine has no bfloat16 in hardware, where it is slower than 32: proposed is 32")
    elif engine.precision == "32" and supports_bf16(engine.accelerator):
        precision = "bf16"
        notes.append("this machine computes bfloat16 in hardware: proposed, and probed, is bf16")
    several = engine.devices * engine.nodes
    if several > 1:
        notes.append(f"one process of {several} was probed by itself; the talk between processes is not in the time")
    wanted = {**dict(flatten(config.to_dict())), "engine.precision": precision}
    share = engine.batch_size // several // engine.accumulate
    first, about = _probe(wanted, min(share, SIZES[0]))
    available = memory_gib or available_gib(about.device)
    batch, parts = share, several * engine.accumulate
    if about.stages and batch * parts > about.images:
        batch = 2 ** max(0, (about.images // parts).bit_length() - 1)
        notes.append(f"a step of {share * parts} images would see some of the {about.images} training images twice")
    probes = [first]
    try:
        if batch > SIZES[0]:
            probes.append(_probe(wanted, min(batch, SIZES[1]))[0])
    except DoesNotFitError as error:
        notes.append(f"{error}; the estimate rests on the smaller probe alone")
    micro_batch, gib = fitting(probes, about, batch, available, most=engine.micro_batch)
    if micro_batch and gib <= ROOM * available and probes[-1].images > 1:
        part = min(micro_batch, max(1, probes[-1].images // 4))
        try:
            probes.append(_probe(wanted, probes[-1].images, part)[0])
        except DoesNotFitError as error:
            notes.append(f"{error} in parts of {part}; what parts cost was not measured")
    gib = next((p.gib for p in probes if (p.images, p.micro_batch) == (batch, micro_batch)), gib)
    fits = gib <= ROOM * available
    if not fits:
        least = "images one at a time" if micro_batch == 1 or batch == 1 else f"parts of {micro_batch or batch} images"
        notes.append(
            f"not even {least} fit into {ROOM:.0%} of {available:.2f} GiB; set engine.checkpointing=true, "
            "or take a smaller backbone or more memory"
        )
    measured = any((p.images, p.micro_batch) == (batch, micro_batch) for p in probes)
    seconds = step_seconds(probes, batch, cached=micro_batch > 0) * engine.accumulate
    whole = batch * parts
    per_epoch, steps = steps_of(engine, about, whole)
    proposed = {"engine.batch_size": whole, "engine.micro_batch": micro_batch, "engine.precision": precision}
    return Preflight(
        tuple(probes),
        about,
        available,
        fits,
        measured,
        max(gib, first.loading_gib),
        seconds,
        per_epoch,
        steps,
        steps * seconds / 3600,
        proposed,
        tuple(notes),
    )


def fitting(probes: list[Probe], about: About, batch: int, available: float, *, most: int = 0) -> tuple[int, float]:
    """Images of a part (0: the whole batch) that fit into ROOM of the memory, and the memory that they need (GiB).

    A part has at most `most` images (0: as many as there are). Where nothing fits it is the least there is. Memory is
    fixed + images * slope, as the probes, all of whole batches, say.
    """
    last = probes[-1]
    slope = max(0.0, (last.gib - probes[0].gib) / (last.images - probes[0].images)) if len(probes) > 1 else 0.0
    if len(probes) == 1 and last.images != batch:
        slope = last.gib / last.images  # at worst
    fixed = last.gib - slope * last.images
    whole = fixed + slope * batch
    if not 0 < most < batch and (whole <= ROOM * available or batch == 1):
        return 0, whole
    beside = (COPIES * 4 * about.pixels * batch + (MATRICES * 4 * batch**2 if about.compares else 0)) / GIB
    largest = most if 0 < most < batch else 1 << (batch - 1).bit_length() - 1
    smaller = [2**power for power in reversed(range((largest - 1).bit_length()))]
    parts = [(part, fixed + slope * part + beside) for part in (largest, *smaller)]
    return next((found for found in parts if found[1] <= ROOM * available), parts[-1])


def step_seconds(probes: list[Probe], batch: int, *, cached: bool) -> float:
    """Seconds of a step of `batch` images, linear in them; `cached`: as much slower as the last probe was in parts."""
    plain = probes[:-1] if cached and probes[-1].micro_batch else probes
    last = plain[-1]
    slope = last.seconds / last.images
    if len(plain) > 1:
        slope = max(0.0, (last.seconds - plain[0].seconds) / (last.images - plain[0].images))
    slower = probes[-1].seconds / last.seconds if len(plain) < len(probes) and last.seconds else 1.0
    return (last.seconds + slope * (batch - last.images)) * slower


def steps_of(engine: EngineConfig, about: About, batch: int) -> tuple[int, int]:
    """Steps of an epoch and of all stages, as training counts them."""
    whole = engine.model_copy(update={"batch_size": batch})
    stages = [Stage(train=(), share=share) for share in about.stages]
    return -(-about.images // batch), sum(stage_steps(stage, whole, images=about.images) for stage in stages)


def available_gib(device: str) -> float:
    """Memory that a run could take now (GiB): of the GPU, or of this machine and what its container allows."""
    if device == "cuda":
        import torch

        return float(torch.cuda.mem_get_info()[0]) / GIB
    found = []
    memory = Path("/proc/meminfo")
    if memory.is_file():
        (line,) = [line for line in memory.read_text(encoding="ascii").splitlines() if line.startswith("MemAvailable")]
        found.append(int(line.split()[1]) * 1024)
    found += _container(Path("/sys/fs/cgroup"))
    if not found:
        raise ValueError("this system does not say how much memory is free; give --memory in GiB")
    return min(found) / GIB


def _container(group: Path) -> list[int]:
    """Bytes that a container may still take (cgroup v2), none where it has no limit; what it can drop is free."""
    limit = group / "memory.max"
    if not limit.is_file() or limit.read_text(encoding="ascii").strip() == "max":
        return []
    used = int((group / "memory.current").read_text(encoding="ascii"))
    stat = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
    return [int(limit.read_text(encoding="ascii")) - used + int(stat["inactive_file"])]


def _probe(wanted: Settings, images: int, micro_batch: int = 0) -> tuple[Probe, About]:
    own = {"batch_size": images, "micro_batch": micro_batch, "accumulate": 1, "devices": 1, "nodes": 1}
    settings = {**wanted, **{f"engine.{name}": value for name, value in own.items()}}
    done = subprocess.run(
        [sys.executable, "-m", SCRIPT], input=json.dumps(settings), capture_output=True, text=True, check=False
    )
    said = done.stderr.strip().splitlines() or ["it said nothing"]
    if done.returncode == -9 or any("memory" in line.lower() and "alloc" in line.lower() for line in said[-3:]):
        raise DoesNotFitError(f"the memory did not suffice for a step of {images} images")
    if done.returncode:
        raise ValueError(f"a step of {images} images failed: {said[-1]}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    stages = tuple(found.pop("stages"))
    about = About(stages=stages, **{name: found.pop(name) for name in ("images", "compares", "pixels", "device")})
    return Probe(images=images, micro_batch=micro_batch, **found), about
