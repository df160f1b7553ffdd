"""A run's export sent to the Hugging Face hub, with its model card. Thin over huggingface_hub."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from surefoot.exporting import NO_DETAILS, Details, Format, export
from surefoot.exporting.card import card


def push(
    run: str | Path, repository: str, *, form: Format, details: Details = NO_DETAILS, private: bool = False
) -> tuple[str, list[str]]:
    """Export a finished run, make the repository where there is none, and send the folder in one commit.

    Returns the commit's address and what the export had to say. Raises ValueError where the name is no OWNER/NAME or
    the run is unfinished, ConnectionError or PermissionError with what to do where the hub does not take it.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    card(Path(run), form=form, details=details)  # first: an unfinished run has none
    if repository.count("/") != 1:
        raise ValueError(f"repository={repository}: give OWNER/NAME, such as me/my-classifier")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        notes = export(run, form, folder, details=replace(details, place=repository))
        said = f"{Path(run).name}, exported by Surefoot"
        with _explained(repository):
            try:
                HfApi().create_repo(repository, private=private or None, exist_ok=True)
            except HFValidationError as error:
                raise ValueError(f"repository={repository}: {error}") from error
            done = HfApi().upload_folder(repo_id=repository, folder_path=folder, commit_message=said)
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
