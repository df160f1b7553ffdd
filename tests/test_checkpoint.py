import json
import pickle
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from surefoot import checkpoint
from surefoot.checkpoint import (
    BEFORE,
    FILE,
    NEXT,
    TrainState,
    disk_errors,
    load,
    restore,
    save,
    write_text,
    write_whole,
)


def network(*, width: int = 6, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.Linear(width, 2))
    module[1].weight.requires_grad_(False)
    return module


def trained(module: nn.Module, *, steps: int = 3) -> torch.optim.Optimizer:
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=0.1, fused=True)
    go_on(module, optimizer, steps)
    return optimizer


def go_on(module: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    draw = torch.Generator().manual_seed(1)
    for _ in range(steps):
        module(torch.randn(8, 4, generator=draw)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def same(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@contextmanager
def full_disk(size: int = 1000) -> Iterator[None]:
    """No file may grow beyond `size` bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_saved_comes_back_bit_for_bit_with_its_counters(tmp_path: Path) -> None:
    module = network()
    save(tmp_path / "last", module, trained(module), TrainState(stage=1, step=7, seconds=2.5))
    other = network(seed=1)
    state = load(tmp_path / "last", other)
    assert (state.stage, state.step, state.seconds) == (1, 7, 2.5)
    assert same(module, other)


def test_training_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    module = network()
    optimizer = trained(module)
    save(tmp_path, module, optimizer, TrainState())
    other = network(seed=1)
    state = load(tmp_path, other)
    second = torch.optim.AdamW([p for p in other.parameters() if p.requires_grad], lr=0.1, fused=True)
    restore(second, other, state.optimizer)
    go_on(module, optimizer, 4)
    go_on(other, second, 4)
    assert same(module, other)


def test_without_a_checkpoint_a_run_begins_at_the_start_and_nothing_changes(tmp_path: Path) -> None:
    module = network()
    state = load(tmp_path / "nothing", module)
    assert (state.stage, state.step, state.optimizer) == (0, 0, {})
    assert same(module, network())


def test_a_checkpoint_is_one_file_that_other_tools_can_read(tmp_path: Path) -> None:
    module = network()
    save(tmp_path, module, trained(module), TrainState())
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]
    tensors = load_file(tmp_path / FILE)
    assert torch.equal(tensors["method.0.weight"], module[0].weight)
    assert "optimizer.0.weight/exp_avg" in tensors
    assert not any(name.startswith("optimizer.1.weight") for name in tensors)  # which does not train


# --- disks ----------------------------------------------------------------------------------------------------------


def test_on_a_full_disk_the_last_checkpoint_stands_and_the_message_says_so(tmp_path: Path) -> None:
    module = network(width=200)
    optimizer = trained(module)
    save(tmp_path, module, optimizer, TrainState(step=1))
    before = (tmp_path / FILE).read_bytes()
    go_on(module, optimizer, 1)
    with (
        full_disk(),
        pytest.raises(OSError, match=r"could not be written .* what was saved before still stands\. Free"),
    ):
        save(tmp_path, module, optimizer, TrainState(step=2))
    assert (tmp_path / FILE).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [FILE]  # no half-written file is left
    save(tmp_path, module, optimizer, TrainState(step=2))
    assert load(tmp_path, module).step == 2


def test_killed_while_a_damaged_checkpoint_is_replaced_the_new_one_is_taken(tmp_path: Path) -> None:
    module = network()
    optimizer = trained(module)
    save(tmp_path, module, optimizer, TrainState(step=3))
    (tmp_path / FILE).rename(tmp_path / NEXT)  # where the newest lies between the two moves
    for name in (FILE, BEFORE):
        (tmp_path / name).write_bytes(b"damaged")
    other = network(seed=1)
    state = load(tmp_path, other)
    assert (state.step, state.note) == (3, "")
    assert same(module, other)


@pytest.mark.parametrize("left", [0, 5, 60, -1])
def test_where_the_last_checkpoint_is_cut_short_the_one_before_it_is_taken_and_told(left: int, tmp_path: Path) -> None:
    module = network()
    optimizer = trained(module)
    save(tmp_path, module, optimizer, TrainState(step=3))
    kept = {name: value.clone() for name, value in module.state_dict().items()}
    go_on(module, optimizer, 1)
    save(tmp_path, module, optimizer, TrainState(step=4))
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:left])
    other = network(seed=1)
    state = load(tmp_path, other)
    assert state.step == 3
    assert state.note.startswith(f"{tmp_path / FILE} is damaged")
    assert state.note.endswith("going on from the checkpoint before it, step 3 of stage 0")
    assert all(torch.equal(value, kept[name]) for name, value in other.state_dict().items())


def test_killed_between_two_moves_the_checkpoint_before_is_the_last(tmp_path: Path) -> None:
    module = network()
    save(tmp_path, module, trained(module), TrainState(step=3))
    (tmp_path / FILE).rename(tmp_path / BEFORE)
    assert (load(tmp_path, module).step, load(tmp_path, module).note) == (3, "")


def test_two_damaged_checkpoints_are_both_named(tmp_path: Path) -> None:
    module = network()
    for name in (FILE, BEFORE):
        (tmp_path / name).write_bytes(b"short")
    with pytest.raises(
        ValueError, match=r"state\.saf.* is damaged .*before\.saf.* is damaged .*; remove both to start"
    ):
        load(tmp_path, module)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    module = network()
    with pytest.raises(OSError, match=r"file/last"):
        save(tmp_path / "file" / "last", module, trained(module), TrainState())


def test_a_text_that_does_not_fit_on_the_disk_leaves_the_former_one(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_text(path, "{}\n")
    with full_disk(), pytest.raises(OSError, match="File too large"):
        write_text(path, "x" * 5000)
    assert path.read_text() == "{}\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_half_way_leaves_the_former_file(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_text("old")

    def half(partial: Path) -> None:
        partial.write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, half)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_missing_parent_folders_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "c.txt", "ä\n")
    assert (tmp_path / "a" / "b" / "c.txt").read_text(encoding="utf-8") == "ä\n"


def test_an_error_of_safetensors_becomes_one_of_the_disk(tmp_path: Path) -> None:
    with (
        full_disk(),
        pytest.raises(OSError, match="the result could not be written"),
        disk_errors(tmp_path, "the result"),
    ):
        save_file({"a": torch.zeros(1000)}, tmp_path / "a.safetensors")


# --- files that do not fit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [0, 5, 60, -1])
def test_a_truncated_file_is_named_with_the_remedy(tmp_path: Path, left: int) -> None:
    module = network()
    save(tmp_path, module, trained(module), TrainState())
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:left])
    with pytest.raises(ValueError, match=r"state\.safetensors is damaged .* remove it to start this run anew"):
        load(tmp_path, module)


def test_a_file_without_counters_is_damaged(tmp_path: Path) -> None:
    save_file({"method." + name: value for name, value in network().state_dict().items()}, tmp_path / FILE)
    with pytest.raises(ValueError, match="damaged"):
        load(tmp_path, network())


def test_a_checkpoint_of_a_wider_backbone_is_refused_with_both_shapes(tmp_path: Path) -> None:
    wide = network(width=8)
    save(tmp_path, wide, trained(wide), TrainState())
    with pytest.raises(ValueError, match=r"of another backbone: '0\.weight' has shape \(8, 4\), expected \(6, 4\)"):
        load(tmp_path, network())


def test_a_checkpoint_that_lacks_a_tensor_is_of_another_method(tmp_path: Path) -> None:
    short = nn.Sequential(nn.Linear(4, 6))
    save(tmp_path, short, trained(nn.Linear(1, 1), steps=0), TrainState())
    with pytest.raises(ValueError, match=r"another method or backbone: it has no '1\.weight'; use another output"):
        load(tmp_path, network())


def test_a_checkpoint_with_a_tensor_too_many_is_of_another_method(tmp_path: Path) -> None:
    module = network()
    save(tmp_path, module, trained(module), TrainState())
    with pytest.raises(ValueError, match=r"it also has '1\.bias'"):
        load(tmp_path, nn.Sequential(nn.Linear(4, 6)))


def test_a_checkpoint_that_is_refused_changes_nothing(tmp_path: Path) -> None:
    short = nn.Sequential(nn.Linear(4, 6))
    save(tmp_path, short, trained(nn.Linear(1, 1), steps=0), TrainState())
    module = network()
    with pytest.raises(ValueError, match="another method"):
        load(tmp_path, module)
    assert same(module, network())


@pytest.mark.parametrize("suffix", checkpoint.PICKLES)
def test_a_pickle_is_refused_and_never_opened(tmp_path: Path, suffix: str) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "opened"),)  # type: ignore[return-value]

    (tmp_path / f"last{suffix}").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match=rf"last\{suffix} is a pickle, which can run code"):
        load(tmp_path, network())
    assert not (tmp_path / "opened").exists()


def test_a_pickle_under_the_name_of_a_checkpoint_is_damaged(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / FILE)
    with pytest.raises(ValueError, match="damaged"):
        load(tmp_path, network())


def test_the_counters_are_json_in_the_header(tmp_path: Path) -> None:
    module = network()
    save(tmp_path, module, trained(module), TrainState(stage=2, step=5, seconds=1.0))
    raw = (tmp_path / FILE).read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert json.loads(header["__metadata__"]["state"]) == {"stage": 2, "step": 5, "seconds": 1.0}
