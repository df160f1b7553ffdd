"""Classifiers on a very small CLIP, with heads of every kind, and a hub on this machine."""

import base64
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import surefoot
from surefoot.backbones.base import load_backbone
from surefoot.classifier import Classifier, Convention, Head
from surefoot.data.prompts import Prompts

CLASSES = ("cat", "dog", "red bird")
MakeRun = Callable[..., Path]


@pytest.fixture(scope="session")
def make_run(clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """A folder with `classifier/`: its head made by text from `templates`, or drawn (`convention`)."""

    def make(*, templates: tuple[str, ...] = ("a {}",), convention: Convention | None = None) -> Path:
        backbone = load_backbone(str(clip_folder))
        prompts = Prompts(CLASSES, templates, ("a {}",))
        head = Head.zero_shot(backbone, prompts)
        if convention is not None:
            draw = torch.Generator().manual_seed(1)
            weight, bias = torch.randn(3, backbone.dim, generator=draw), torch.randn(3, generator=draw)
            scale = torch.tensor(7.0 if convention == "unit" else 1.0)
            weight = weight * (0.02 if convention == "linear" else 3.0)
            head = Head(weight, bias=bias * (convention != "unit"), scale=scale, convention=convention)
        classifier = Classifier(backbone, head, classes=CLASSES, templates=templates, temperature=1.7)
        folder = tmp_path_factory.mktemp("run")
        classifier.save_pretrained(folder / "classifier")
        return folder

    return make


@pytest.fixture(scope="session")
def finished(squares: Path, make_clip: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a very small CLIP on the squares."""
    start = tmp_path_factory.mktemp("start") / "small-clip"
    make_clip(start, context=48)
    folder = tmp_path_factory.mktemp("runs") / "seed-0"
    settings: dict[str, Any] = {
        "task": str(squares),
        "backbone": str(start),
        "method": "flyp",
        "engine.lr": 1e-3,
        "engine.batch_size": 12,
        "engine.epochs": 1,
        "engine.precision": "32",
        "data.workers": 0,
        "task.templates": ["a {}"],
    }
    surefoot.train(folder, settings)
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four PNGs of exactly the size that the small CLIP reads."""
    folder, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    paths = [folder / f"{i}.png" for i in range(4)]
    for path in paths:
        Image.fromarray(draw.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(path)
    return paths


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
def sent_to(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Takes a server's address for the hub."""
    from huggingface_hub import constants

    def direct(url: str) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setenv("HF_TOKEN", "hf_test")

    return direct


@pytest.fixture
def hub(sent_to: Callable[[str], None]) -> Iterator[Hub]:
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
    sent_to(found.url)
    yield found
    server.shutdown()
    server.server_close()
    thread.join()
