"""Sending to the hub, which is a server on this machine here."""

import base64
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from surefoot.exporting import Details, Format
from surefoot.exporting.hub import push


@dataclass
class Hub:
    """What a hub must answer, and what it was sent: files by name."""

    url: str = ""
    refuse: int = 0  # this status to everything
    made: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    def answer(self, path: str, content: bytes) -> tuple[int, dict[str, Any]]:
        if self.refuse:
            return self.refuse, {"error": "no"}
        if path.endswith("/repos/create"):
            self.made.append(json.loads(content))
            return 200, {"url": f"{self.url}/me/colours", "name": "me/colours"}
        if "/preupload/" in path:
            names = [file["path"] for file in json.loads(content)["files"]]
            return 200, {"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]}
        if "/commit/" not in path:  # such as the check of the card's head
            return 200, {"errors": [], "warnings": []}
        for line in map(json.loads, content.splitlines()):
            if line["key"] == "file":
                self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        return 200, {"commitUrl": f"{self.url}/me/colours/commit/abc", "commitOid": "abc", "success": True}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    found = Hub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.reply(*found.answer(self.path.partition("?")[0], content))

        def do_GET(self) -> None:
            self.reply(found.refuse or 200, {"siblings": [], "id": "me/colours", "sha": "0" * 40})

        def do_HEAD(self) -> None:
            self.reply(404, {})

        def reply(self, status: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    sent_to(found.url, monkeypatch)
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def sent_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants, hf_api

    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(hf_api.constants, "ENDPOINT", url)
    monkeypatch.setenv("HF_TOKEN", "hf_test")


def test_the_whole_folder_with_its_card_is_sent_in_one_commit(finished: Path, hub: Hub) -> None:
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
def test_a_refusal_says_how_to_log_in(finished: Path, hub: Hub, status: int) -> None:
    hub.refuse = status
    with pytest.raises(PermissionError, match=r"does not let you write to me/colours; log in with `hf auth login`"):
        push(finished, "me/colours", form=Format.openclip)


def test_a_hub_that_is_not_there_is_named(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent_to("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(ConnectionError, match=r"http://127\.0\.0\.1:9 cannot be reached"):
        push(finished, "me/colours", form=Format.openclip)


def test_a_wrong_name_and_an_unfinished_run_are_refused_before_anything_is_sent(
    finished: Path, hub: Hub, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"repository=colours: give OWNER/NAME"):
        push(finished, "colours", form=Format.openclip)
    with pytest.raises(ValueError, match=r"repository=me/bad name"):
        push(finished, "me/bad name", form=Format.openclip)
    with pytest.raises(ValueError, match="the run is unfinished"):
        push(tmp_path, "me/colours", form=Format.openclip)
    assert hub.made == []
