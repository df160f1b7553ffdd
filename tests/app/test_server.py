"""`surefoot app` as a process: over HTTP, and in headless Chromium, at phone width and in dark colours too."""

import html
import inspect
import io
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from surefoot.app import command, server
from surefoot.cli import app
from surefoot.run import train

HOSTILE = "<img src=x onerror=alert(1)>"
needs_extra = pytest.mark.skipif(
    bool(server.missing()), reason="the extra app is missing; pip install 'surefoot[app]' brings it"
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, squares: Path, quick: dict[str, Any]) -> Path:
    """Runs of a task one of whose classes is HTML."""
    root = tmp_path_factory.mktemp("hostile")
    shutil.copytree(squares, root / "data" / "squares")
    rows = ["path,label,split"]
    for split in ("train", "validation", "test"):
        for file in sorted((squares / split).glob("*/*.png")):
            label = HOSTILE if file.parent.name == "red" else file.parent.name
            rows.append(f"squares/{file.relative_to(squares)},{label},{split}")
    (root / "data" / "manifest.csv").write_text("\n".join(rows))
    for method in ("fine_tune", "flyp"):
        settings = {**quick, "task": str(root / "data"), "method": method, "engine.epochs": 8, "engine.lr": 0.01}
        train(root / "runs" / method / "seed-0", settings)
    return root / "runs"


def started(*words: str | Path) -> tuple["subprocess.Popen[str]", str]:
    """The process, and the address that it printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "surefoot", "app", *map(str, words), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    found = re.match(r"Open (http://\S+/) in a browser", line)
    assert found, line + process.stderr.read()
    return process, found[1]


def ended(process: "subprocess.Popen[str]", number: int) -> tuple[int, str]:
    """The exit code and what standard error held."""
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    return process.returncode, told


@pytest.fixture(scope="module")
def address(trained: Path) -> Iterator[str]:
    process, found = started(*(trained / name / "seed-0" for name in ("fine_tune", "flyp")), "--max-upload", "0.01")
    yield found
    code, told = ended(process, signal.SIGTERM)
    assert (code, "Traceback" in told) == (0, False), told


def asked(
    address: str, content: bytes | None = None, *, headers: Sequence[tuple[str, str]] = ()
) -> tuple[int, bytes, Any]:
    request = urllib.request.Request(address, data=content, headers=dict(headers))
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read(), response.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers


def picture(squares: Path) -> Path:
    return sorted((squares / "test" / "red").glob("*.png"))[0]


@needs_extra
def test_an_image_gets_an_answer_as_json(address: str, squares: Path) -> None:
    code, body, _ = asked(f"{address}look", picture(squares).read_bytes())
    answer = json.loads(body)
    assert code == 200
    assert [model["name"] for model in answer["models"]] == ["zero_shot", "fine_tune/seed-0", "flyp/seed-0"]
    assert set(answer["classes"]) == {HOSTILE, "blue", "green"}
    assert all(sum(model["probabilities"]) == pytest.approx(1, abs=1e-5) for model in answer["models"])
    assert len(answer["nearest"]) == 6
    about = json.loads(asked(f"{address}about")[1])
    assert (about["classes"], about["models"], about["notes"]) == (3, [m["name"] for m in answer["models"]], [])


@needs_extra
def test_files_that_are_too_large_or_no_images_are_refused(address: str) -> None:
    code, body, _ = asked(f"{address}look", b"x" * 20_000)
    assert code == 413
    assert "larger than 0.0099" in json.loads(body)["error"]
    parts = iter([b"x" * 6000, b"x" * 6000])
    request = urllib.request.Request(f"{address}look", data=parts, method="POST")  # chunked: no length is told
    with pytest.raises((urllib.error.HTTPError, ConnectionError)) as refused:
        urllib.request.urlopen(request, timeout=60)
    if isinstance(refused.value, urllib.error.HTTPError):
        with refused.value:
            assert refused.value.code == 413
    code, body, _ = asked(f"{address}look", b"no image")
    assert (code, json.loads(body)["error"]) == (422, "image: not an image, or a format that is not supported")


def claiming(width: int, height: int) -> bytes:
    """A PNG whose header alone claims so many pixels."""
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG")
    kind_and_rest = b"IHDR" + struct.pack(">II", width, height) + file.getvalue()[24:29]
    return file.getvalue()[:12] + kind_and_rest + struct.pack(">I", zlib.crc32(kind_and_rest)) + file.getvalue()[33:]


@needs_extra
def test_a_file_that_claims_too_many_pixels_is_refused(address: str) -> None:
    code, body, _ = asked(f"{address}look", claiming(20_000, 20_000))
    assert code == 422
    assert "pixels" in json.loads(body)["error"]


@needs_extra
def test_other_sites_and_names_get_nothing(address: str, squares: Path) -> None:
    content = picture(squares).read_bytes()
    assert asked(f"{address}about", headers=[("Host", "evil.example")])[0] == 421
    assert asked(f"{address}look", content, headers=[("Sec-Fetch-Site", "cross-site")])[0] == 403
    assert asked(f"{address}../pyproject.toml")[0] == 404
    code, _, headers = asked(address)
    assert code == 200
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in headers


@needs_extra
@pytest.mark.parametrize(("width", "dark"), [(1000, False), (360, True)])
def test_the_page_shows_an_image_in_a_browser(
    address: str, browser: Any, squares: Path, width: int, dark: bool
) -> None:
    browser.open(address, width=width, dark=dark)
    browser.wait("document.getElementById('about')?.textContent.includes('3 classes')")
    browser.choose_file("#file", picture(squares))
    browser.wait("!document.getElementById('answer').hidden")
    browser.wait("[...document.querySelectorAll('#nearest img')].every(i => i.complete && i.naturalWidth > 0)")
    shown = json.loads(asked(f"{address}look", picture(squares).read_bytes())[1])
    cards = browser.value(
        "[...document.querySelectorAll('#classes .card')].map(c => [c.querySelector('h3').textContent,"
        "[...c.querySelectorAll('.row')].map(r => [r.querySelector('span').textContent,"
        "r.querySelector('.bar').getBoundingClientRect().width / r.querySelector('.track').clientWidth])])"
    )
    for (name, rows), model in zip(cards, shown["models"], strict=True):
        assert name == model["name"]
        assert [row[0] for row in rows] == shown["classes"]  # HTML in a class name is text
        assert [row[1] for row in rows] == pytest.approx(model["probabilities"], abs=0.01)
    assert browser.value("document.querySelectorAll('#contexts .card').length") == 3
    assert browser.value("document.querySelectorAll('#nearest img').length") == 6
    assert browser.value("document.querySelectorAll('img[src=x]').length") == 0
    assert browser.value("document.scrollingElement.scrollWidth") <= width
    assert browser.said == []
    assert {url.split(":")[0] for url in browser.requests} <= {"http", "data", "blob"}
    assert all(url.startswith(address) for url in browser.requests if url.startswith("http"))


@needs_extra
def test_the_page_tells_what_it_cannot_show(address: str, browser: Any, tmp_path: Path) -> None:
    browser.open(address)
    browser.wait("document.getElementById('about')?.textContent.includes('3 classes')")
    broken, large = tmp_path / "broken.png", tmp_path / "large.png"
    broken.write_bytes(b"no image")
    large.write_bytes(b"x" * 20_000)
    browser.choose_file("#file", broken)
    browser.wait("document.getElementById('status').textContent.includes('not an image')")
    browser.choose_file("#file", large)
    browser.wait("document.getElementById('status').textContent.includes('larger than')")
    assert browser.value("document.getElementById('answer').hidden")


@needs_extra
def test_another_address_than_loopback_warns_and_ctrl_c_ends_quietly(trained: Path) -> None:
    process, address = started(trained / "flyp" / "seed-0", "--host", "0.0.0.0")
    port = address.rstrip("/").rpartition(":")[2]
    assert asked(f"http://127.0.0.1:{port}/about", headers=[("Host", "any.name")])[0] == 200
    code, told = ended(process, signal.SIGINT)
    assert code == 0
    assert "warning: --host=0.0.0.0 lets every machine" in told
    assert "Traceback" not in told


@needs_extra
def test_a_port_that_is_taken_is_an_error(trained: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = CliRunner().invoke(app, ["app", str(trained / "flyp" / "seed-0"), "--port", str(port)])
    assert done.exit_code == 2
    assert f"--port={port} cannot be used" in done.stderr


@needs_extra
def test_runs_that_do_not_belong_together_end_the_command(trained: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["app", str(tmp_path), "--port", "0"])
    assert done.exit_code == 1
    assert "results.json is missing" in done.stderr


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(server, "NEEDED", ("no_such_server",))
    done = CliRunner().invoke(app, ["app", str(tmp_path)])
    assert done.exit_code == 2
    assert "surefoot app needs no_such_server; pip install 'surefoot[app]'" in done.stderr


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.3.2.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("me", False)],
)
def test_only_loopback_addresses_keep_others_out(host: str, local: bool) -> None:
    assert server.is_loopback(host) is local


def test_the_page_names_no_other_server_and_sets_no_html() -> None:
    for file in server.PAGE.iterdir():
        text = html.unescape(file.read_text(encoding="utf-8"))
        assert not re.search(r"https?://|//cdn|@import|innerHTML|insertAdjacentHTML|document\.write", text)


def test_the_docs_name_every_option_with_its_default() -> None:
    text = (Path(__file__).parents[2] / "docs" / "app.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `--([a-z-]+)` \| `(.+?)` \|", text, re.MULTILINE))
    defaults = {name.replace("_", "-"): p.default for name, p in inspect.signature(command.app).parameters.items()}
    assert told == {name: str(value) for name, value in defaults.items() if value is not inspect.Parameter.empty}
