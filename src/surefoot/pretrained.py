"""Models that transformers opens, a folder or a hub id: what its long errors mean, in plain words; no progress bars.

Which models those are belongs to the parts that open them. Pickles are never read.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

PICKLES = (".bin", ".pt", ".pth", ".ckpt")


@contextmanager
def explained(what: str, path: str, *, kind: str, revision: str = "main") -> Iterator[None]:
    """An error inside becomes a ValueError that begins with `what` and says what is wrong with `path`.

    `kind` is the class of transformers that opens such a model.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        local = Path(path).is_dir()
        reason = _local_reason(Path(path), kind, error) if local else hub_reason(revision, error)
        raise ValueError(f"{what} cannot be opened: {reason}") from error


def has_one_of(path: str, names: Sequence[str], *, revision: str = "main") -> bool:
    """Whether at least one of these files is in the folder or at the hub."""
    from transformers.utils import cached_file

    found = [cached_file(path, n, revision=revision, _raise_exceptions_for_missing_entries=False) for n in names]
    return any(found)


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keeps transformers quiet while it loads weights: also what it doubts of SigLIP's own settings."""
    from transformers.utils import logging

    shown, told = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(told)
        if shown:
            logging.enable_progress_bar()


def _local_reason(folder: Path, kind: str, error: Exception) -> str:
    names = {file.name for file in folder.iterdir()}
    if "config.json" not in names:
        return "the folder has no config.json; give a folder that save_pretrained of transformers wrote"
    if not any(name.endswith(".safetensors") for name in names):
        pickles = sorted(name for name in names if name.endswith(PICKLES))
        if pickles:
            return (
                f"its weights are a pickle ({pickles[0]}), which can run code when opened and is refused; if you trust "
                f"it, convert it once: {kind}.from_pretrained(folder).save_pretrained(new_folder)"
            )
        return "the folder has no model.safetensors"
    return f"{error}"


def hub_reason(revision: str, error: BaseException, *, what: str = "model") -> str:
    """Why the hub's client could not give a model or data set (`what`), with the remedy."""
    from huggingface_hub import constants, errors

    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__

    def any_of(*kinds: type[BaseException]) -> bool:
        return any(isinstance(link, kinds) for link in chain)

    said = str(error)  # the library datasets drops the cause
    if any_of(errors.GatedRepoError) or "gated dataset" in said:
        return f"the {what} is gated; ask for access on its page on the hub, then log in with `hf auth login`"
    if any_of(errors.RevisionNotFoundError) or said.startswith("Revision "):
        return f"it has no revision {revision!r}; give a branch, a tag or a commit"
    if any_of(errors.RepositoryNotFoundError, errors.HFValidationError) or "exist on the Hub" in said:
        return f"there is no such folder, and no such {what} on the hub (or it is private: log in with `hf auth login`)"
    if constants.is_offline_mode():
        return (
            f"there is no such folder, HF_HUB_OFFLINE is set and the {what} is not in the cache; unset it to download"
        )
    if any_of(errors.LocalEntryNotFoundError, ConnectionError):
        return f"there is no such folder, the hub cannot be reached and the {what} is not in the cache"
    if "safetensors" in str(error):
        return (
            "it has no safetensors weights; pickles can run code when opened and are refused: take a revision with them"
        )
    return f"{error}"
