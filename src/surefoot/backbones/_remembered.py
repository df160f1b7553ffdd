"""Class weights remembered on the disk, by their content: text tower, tokenizer and sentences. Imported through `base`.

`on_disk` and `key_of` serve for other rows that a tower computes. What is found is bit for bit what would be
computed: the key holds all that the numbers depend on, also the version of torch, the device and the number of
threads. A file that is damaged or of another key is made anew.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from surefoot.backbones._towers import Tokenizer
from surefoot.cache_folder import VARIABLE, cache_folder
from surefoot.permissions import write_whole

FORMAT = "2"  # of the key; another one where the arithmetic changes
WORTH = 1000  # sentences; fewer are encoded sooner than a large tower is read through
NAME = "weights"


def remembered(
    compute: Callable[[], Tensor],
    sentences: Sequence[Sequence[str]],
    *,
    tower: nn.Module,
    tokenizer: Tokenizer,
    probe: Callable[[], Tensor],
) -> Tensor:
    """The class weights (C, D) of these sentences: from the disk if they are there, else computed and put there.

    `probe` gives the features of some of them, which tell what the weights do not: heads, activations, kernels. A
    cache that cannot be written is told of on standard error and left alone.
    """
    if cache_folder() is None or sum(map(len, sentences)) < WORTH:
        return compute()
    device = next(tower.parameters()).device
    unique = dict.fromkeys(sentence for group in sentences for sentence in group)
    about = [[list(group) for group in sentences], tokenizer.context, tokenizer.encode(list(unique))]
    return on_disk("heads", key_of(about, tower, probe()), compute, what="class weights").to(device)


def on_disk(kind: str, key: str, compute: Callable[[], Tensor], *, what: str) -> Tensor:
    """The rows (N, D) of this key in the cache's folder `kind`, or those of `compute`, put there; "off" computes."""
    folder = cache_folder()
    if folder is None:
        return compute()
    path = folder / kind / f"{key}.safetensors"
    found = _read(path, key)
    if len(found):
        return found
    rows = compute()
    try:
        kept = {NAME: rows.detach().cpu().contiguous()}
        write_whole(path, lambda partial: save_file(kept, partial, metadata={"key": key}))
    except (OSError, SafetensorError) as error:
        sys.stderr.write(f"note: {folder} cannot keep {what} ({error}); {VARIABLE}=off does without\n")
    return rows


def key_of(about: Sequence[object], tower: nn.Module, probed: Tensor) -> str:
    """A key for what `tower` computes of `about` (JSON values) here; `probed` are rows that it gives now (N, D)."""
    sha, device = hashlib.sha256(), probed.device
    processor = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    autocast = str(torch.get_autocast_dtype(device.type)) if torch.is_autocast_enabled(device.type) else "off"
    machine = (FORMAT, torch.__version__, device.type, processor, torch.get_num_threads(), autocast)
    kind = f"{type(tower).__module__}.{type(tower).__qualname__}"
    sha.update(json.dumps([machine, kind, about]).encode())
    for name, tensor in {**tower.state_dict(), "probe": probed}.items():
        values = tensor.detach().cpu().contiguous()
        sha.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        sha.update(values.flatten().view(torch.uint8).numpy())
    return sha.hexdigest()


def _read(path: Path, key: str) -> Tensor:
    """The tensor of a file, or one without rows where there is no such file, or no whole one."""
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("key") != key:
                return torch.empty(0)
            weights: Tensor = file.get_tensor(NAME)
    except (OSError, SafetensorError):
        return torch.empty(0)
    return weights if weights.ndim == 2 and bool(weights.isfinite().all()) else torch.empty(0)
