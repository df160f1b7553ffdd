"""`surefoot prompts` as a user meets it."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from surefoot.cli import app
from surefoot.data.pools import read_pools

KEY = "sk-secret-0123456789"
ANSWER = "1. On a sandy beach\n2. In a wood\n3. With a dog\n4. under a lamp\n5. seen from above\n6. in thick fog"
PHRASES = tuple("{} " + p for p in ("on a sandy beach", "in a wood", "under a lamp", "seen from above", "in thick fog"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a classes.yaml in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    (tmp_path / "classes.yaml").write_text("classes: [cat, dog]\n")
    return tmp_path


def spurious(*words: str) -> Result:
    done = CliRunner().invoke(app, ["prompts", "spurious", "--classes", "classes.yaml", *words])
    assert KEY not in done.output + done.stderr
    return done


def from_stub(stub: Any, *words: str) -> Result:
    return spurious("--lm", stub.url, "--model", "small", "--timeout", "0.5", *words)


def only_classes(home: Path) -> bool:
    return [path.name for path in home.iterdir()] == ["classes.yaml"]


def test_an_endpoint_gives_a_pool_that_star_ft_takes(stub: Any, home: Path) -> None:
    from surefoot.config import resolve

    stub.says(ANSWER)
    done = from_stub(stub, "-o", "pool.txt")
    assert done.exit_code == 0, done.stderr
    assert "kept 5 phrases, dropped 7 lines (5 given before, 2 that name a class)" in done.stderr
    assert "Written to pool.txt" in done.stdout
    assert "method.pools=[pool.txt]" in done.stdout
    assert stub.asked[0][1]["Authorization"] == f"Bearer {KEY}"
    assert KEY not in (home / "pool.txt").read_text()
    assert f"2 classes, by the language model small at {stub.url}." in (home / "pool.txt").read_text()
    chosen = resolve({"method": "star_ft", "method.pools": ["pool.txt"]}).method.options.model_dump()["pools"]
    assert read_pools(chosen) == PHRASES


def test_a_local_model_gives_a_pool(make_language_model: Any, home: Path) -> None:
    make_language_model(home / "lm", ANSWER.splitlines())
    done = spurious("--lm", "lm", "--count", "5")
    assert done.exit_code == 0, done.stderr
    assert read_pools(["spurious.txt"]) == PHRASES
    assert "by the language model lm." in (home / "spurious.txt").read_text()


def test_a_model_that_knows_nothing_writes_nothing(make_language_model: Any, home: Path) -> None:
    make_language_model(home / "lm", ["bo ga", "ku", "zu ni ra", "ta ta"], seed=1)
    done = spurious("--lm", "lm")
    assert done.exit_code == 1
    assert "--lm=lm gave 0 phrases that can be used" in done.stderr
    assert "Take a larger model that follows instructions" in done.stderr
    assert not (home / "spurious.txt").exists()


@pytest.mark.parametrize(
    ("status", "body", "pause", "told"),
    [
        (500, b"out of memory", 0, "HTTP 500: 'out of memory'"),
        (200, b'{"choices": [', 0, "no chat completion in JSON"),
        (200, b"late", 5, "did not answer within --timeout=0.5 seconds"),
        (200, b'{"choices": [{"message": {"content": "Sorry, I cannot."}}]}', 0, "begins 'Sorry, I cannot.'"),
    ],
)
def test_a_failure_exits_with_1_names_lm_and_writes_nothing(
    status: int, body: bytes, pause: float, told: str, stub: Any, home: Path
) -> None:
    stub.sends(status, body)
    stub.pause = pause
    done = from_stub(stub)
    assert done.exit_code == 1
    assert "surefoot: --lm=" in done.stderr
    assert told in done.stderr
    assert only_classes(home)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "--lm is not given"),
        (["--lm", "http://localhost:1/v1"], "name one of its models with --model"),
        (["--lm", "http://example.org/v1", "--model", "small"], "would travel unencrypted"),
        (["--lm", "lm", "--model", "small"], "--model=small is for an endpoint"),
        (["--lm", "lm", "-o", "classes.yaml"], "--output=classes.yaml exists"),
        (["--lm", "lm", "--count", "1"], "--count"),
        (["--lm", "lm", "--timeout", "0"], "--timeout"),
    ],
)
def test_wrong_usage_exits_with_2_and_names_the_option(words: Sequence[str], told: str, home: Path) -> None:
    done = spurious(*words)
    assert done.exit_code == 2
    assert told in done.stderr
    assert only_classes(home)


def test_force_replaces_a_pool_and_a_failure_leaves_it(stub: Any, home: Path) -> None:
    (home / "pool.txt").write_text("{} at home\n{} at sea\n")
    stub.sends(500, b"")
    assert from_stub(stub, "-o", "pool.txt", "--force").exit_code == 1
    assert (home / "pool.txt").read_text() == "{} at home\n{} at sea\n"
    stub.says(ANSWER)
    assert from_stub(stub, "-o", "pool.txt", "--force").exit_code == 0
    assert read_pools(["pool.txt"]) == PHRASES


def test_classes_that_are_not_there_exit_with_1(home: Path) -> None:
    done = CliRunner().invoke(app, ["prompts", "spurious", "--classes", "no.yaml", "--lm", "lm"])
    assert (done.exit_code, "--classes=no.yaml cannot be read" in done.stderr) == (1, True)


def test_help_has_an_example_and_needs_no_torch() -> None:
    script = "import sys; from surefoot.cli import app; app(standalone_mode=False); sys.exit('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script, "prompts", "spurious", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Example: surefoot prompts spurious" in " ".join(done.stdout.replace("│", "").split())
