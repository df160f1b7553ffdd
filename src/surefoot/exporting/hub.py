"""A run's export sent to the Hugging Face hub, with its model card. Thin over huggingface_hub."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from surefoot.exporting import Format, export
from surefoot.exporting.card import card


def push(
    run: str | Path, repository: str, *, form: Format, licence: str = "", base_model: str = "", private: bool = False
) -> tuple[str, list[str]]:
    """Export a finished run, make the repository where there is none, and send the folder in one commit.

    Returns the commit's address and what the export had to say. Raises ValueError where the name is no OWNER/NAME or the
    run is unfinished, ConnectionError or PermissionError with what to do where the hub does not take it.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise ValueError(f"repository={repository}: {error}; give OWNER/NAME") from error
    if repository.count("/") != 1:
        raise ValueError(f"repository={repository}: give OWNER/NAME, such as me/my-classifier")
    text = card(
        Path(run), form=form, licence=licence, base_model=base_model, place=repository
    )  # before anything is sent
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        notes = export(run, form, folder, licence=licence)
        (folder / "README.md").write_text(text, encoding="utf-8")
        with _explained(repository):
            api = HfApi()
            api.create_repo(repository, private=private or None, exist_ok=True)
            done = api.upload_folder(
                repo_id=repository, folder_path=folder, commit_message=f"{Path(run).name}, exported by Surefoot"
            )
    return str(done.commit_url), notes


@contextmanager
def _explained(repository: str) -> Iterator[None]:
    """What the hub's errors mean, in plain words."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except OfflineModeIsEnabled as error:
        raise ConnectionError("HF_HUB_OFFLINE is set, so nothing can be sent; unset it") from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            raise PermissionError(
                f"the hub does not let you write to {repository}; log in with `hf auth login` and a token that may "
                "write, and look whether the owner is you or an organization of yours"
            ) from error
        raise ConnectionError(f"the hub refused {repository}: {error}") from error
    except Exception as error:  # of the HTTP client that huggingface_hub uses, which is not one of our own parts
        if not isinstance(error, OSError) and not type(error).__module__.startswith("httpx"):
            raise
        raise ConnectionError(
            f"{constants.ENDPOINT} cannot be reached ({error}); nothing or only a part was sent, and the same command "
            "may be given again"
        ) from error
