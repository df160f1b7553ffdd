"""Sending to the hub, which is a server on this machine here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from surefoot.exporting import Details, Format
from surefoot.exporting.hub import push


def test_the_whole_folder_with_its_card_is_sent_in_one_commit(finished: Path, hub: Any) -> None:
    address, notes = push(
        finished, "me/colours", form=Format.transformers, details=Details(licence="mit"), private=True
    )
    assert address.endswith("/me/colours/commit/abc")
    assert notes
    assert hub.made[0]["name"] == "colours"
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "surefoot.json"} <= set(hub.files)
    card = hub.files["README.md"].decode()
    assert "license: mit" in card
    assert 'model="me/colours"' in card
    assert hub.files["model.safetensors"][8:9] == b"{"  # the header of safetensors


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_says_how_to_log_in(finished: Path, hub: Any, status: int) -> None:
    hub.refuse = status
    with pytest.raises(PermissionError, match=r"does not let you write to me/colours; log in with `hf auth login`"):
        push(finished, "me/colours", form=Format.openclip)


def test_a_hub_that_is_not_there_is_named(finished: Path, sent_to: Callable[[str], None]) -> None:
    sent_to("http://127.0.0.1:9")
    with pytest.raises(ConnectionError, match=r"http://127\.0\.0\.1:9 cannot be reached"):
        push(finished, "me/colours", form=Format.openclip)


def test_a_wrong_name_and_an_unfinished_run_are_refused_before_anything_is_sent(
    finished: Path, hub: Any, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"repository=colours: give OWNER/NAME"):
        push(finished, "colours", form=Format.openclip)
    with pytest.raises(ValueError, match=r"repository=me/bad name"):
        push(finished, "me/bad name", form=Format.openclip)
    with pytest.raises(ValueError, match="the run is unfinished"):
        push(tmp_path, "me/colours", form=Format.openclip)
    assert hub.made == []
