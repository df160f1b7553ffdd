import json
import socket
import threading
import time
from typing import Any

import pytest

from surefoot.language_models.endpoint import BYTES, Endpoint

KEY = "sk-secret-0123456789"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def endpoint(url: str, *, timeout: float = 60, key_env: str = "OPENAI_API_KEY") -> Endpoint:
    return Endpoint.at(url, model="small", key_env=key_env, timeout=timeout)


def complaint(url: str, **options: Any) -> str:
    """What is said where no answer comes; never the key."""
    with pytest.raises(ValueError, match="--lm") as caught:
        endpoint(url, **options).answer("hello")
    told = str(caught.value)
    assert KEY not in told
    assert KEY not in repr(caught.value.__cause__)
    return told


def test_it_is_asked_as_openai_is_and_gets_the_key(stub: Any) -> None:
    stub.says("on a beach\nin mist")
    assert endpoint(f"{stub.url}/").answer("hello") == "on a beach\nin mist"
    ((path, headers, asked),) = stub.asked
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["Content-Type"] == "application/json"
    assert asked == {
        "model": "small",
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0,
        "max_tokens": 1024,
    }


@pytest.mark.parametrize("name", ["", "NO_SUCH_VARIABLE"])
def test_without_a_key_none_is_sent(name: str, stub: Any) -> None:
    stub.says("on a beach")
    endpoint(stub.url, key_env=name).answer("hello")
    assert "Authorization" not in stub.asked[0][1]


def test_a_proxy_is_not_asked_for_this_machine(stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    stub.says("on a beach")
    assert endpoint(stub.url).answer("hello") == "on a beach"


def test_a_line_that_was_cut_off_is_left_out(stub: Any) -> None:
    stub.says("on a beach\nin a den", finish="length")
    assert endpoint(stub.url).answer("hello") == "on a beach"


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (401, "to a key which is valid there"),
        (404, "often ends in /v1, and --model"),
        (429, "wait until"),
        (500, "see the server's log"),
    ],
)
def test_a_refusal_tells_status_answer_and_remedy_but_not_the_key(status: int, remedy: str, stub: Any) -> None:
    stub.sends(status, f'{{"error": "no access for {KEY}\x1b[2J"}}'.encode())
    told = complaint(stub.url)
    assert f"--lm={stub.url} answered --model=small with HTTP {status}: " in told
    assert "no access for ***" in told
    assert "\x1b" not in told
    assert remedy in told


@pytest.mark.parametrize(
    "body",
    [
        b"<html>welcome</html>",
        b'{"choices": [',
        b'{"choices": []}',
        b'{"choices": {"0": 1}}',
        b'{"choices": [[]]}',
        b'{"choices": [{"message": {"content": null}}]}',
        b'{"choices": [{"message": {"content": ["a"]}}]}',
        b"[1]",
        b"\xff\xfe",
        b"",
        b"[" * 200_000,
    ],
)
def test_an_answer_that_is_no_chat_completion_is_shown(body: bytes, stub: Any) -> None:
    stub.sends(200, body)
    told = complaint(stub.url)
    assert "no chat completion in JSON" in told
    assert "often ends in /v1" in told
    assert len(told) < 600


def test_an_endpoint_that_returns_the_key_does_not_bring_it_into_an_answer(stub: Any) -> None:
    stub.says(f"on a beach with {KEY}")
    assert endpoint(stub.url).answer("hello") == "on a beach with ***"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int, stub: Any) -> None:
    stub.sends(status, b"", Location=f"{stub.url}/elsewhere")
    assert f"sends requests on to another address (HTTP {status}); give that one itself" in complaint(stub.url)
    assert len(stub.asked) == 1


def test_a_silent_endpoint_times_out(stub: Any) -> None:
    stub.sends(200, b"late")
    stub.pause = 20
    begun = time.monotonic()
    assert "did not answer within --timeout=0.2 seconds; give it more" in complaint(stub.url, timeout=0.2)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("status", [200, 500])
def test_an_endpoint_that_sends_a_byte_now_and_then_ends_too(status: int, stub: Any) -> None:
    stub.sends(status, *[b" "] * 400)
    stub.pause = 0.05
    begun = time.monotonic()
    complaint(stub.url, timeout=0.3)
    assert time.monotonic() - begun < 5


def test_an_endless_answer_is_cut(stub: Any) -> None:
    stub.sends(200, b" " * (BYTES + 1))
    assert f"more than {BYTES} bytes" in complaint(stub.url)


def test_a_port_where_nothing_runs_is_named() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        told = complaint(f"http://127.0.0.1:{closed.getsockname()[1]}/v1")
    assert "cannot be reached" in told
    assert "that a server runs there" in told


def test_what_speaks_no_http_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            connection.recv(1000)
            connection.sendall(b"SSH-2.0-something\r\n")
            connection.close()

        thread = threading.Thread(target=greet)
        thread.start()
        assert "cannot be reached" in complaint(f"http://127.0.0.1:{server.getsockname()[1]}")
        thread.join()


@pytest.mark.parametrize(
    "url",
    ["ftp://host/v1", "http://", "http://host:port/v1", "http://[::1/v1", "http://host/v1?key=1", "http://host/v1#a",
     "http://a b/v1", "http://host\n/v1", "file:///etc/passwd"],
)  # fmt: skip
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^--lm=.* is no endpoint's address; give one such as"):
        endpoint(url)


def test_an_address_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match="holds a name or a password") as caught:
        endpoint("http://me:hidden@host/v1")
    assert "hidden" not in str(caught.value)


def test_a_key_travels_encrypted_or_on_this_machine_only() -> None:
    with pytest.raises(ValueError, match=r"the key in --key-env=OPENAI_API_KEY would travel unencrypted") as caught:
        endpoint("http://example.org/v1")
    assert KEY not in str(caught.value)
    for url in ("https://example.org/v1", "http://localhost:1/v1", "http://127.0.0.2/v1", "http://[::1]:8/v1"):
        assert endpoint(url).key == KEY
    assert endpoint("http://example.org/v1", key_env="").key == ""


@pytest.mark.parametrize("content", ["two\nlines-of-a-key", "schlüssel-lang-genug"])
def test_a_variable_that_holds_no_key_is_named_but_not_shown(content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", content)
    with pytest.raises(ValueError, match="--key-env=OPENAI_API_KEY") as caught:
        endpoint("https://example.org/v1")
    assert content not in str(caught.value)
    assert content.split()[0] not in str(caught.value)


def test_a_key_stands_in_no_text_of_the_endpoint(stub: Any) -> None:
    made = endpoint(stub.url)
    assert KEY not in repr(made)
    assert KEY not in made.name


def test_an_endpoint_needs_a_model() -> None:
    with pytest.raises(ValueError, match="name one of its models with --model"):
        Endpoint.at("https://example.org/v1", model=" ", key_env="", timeout=1)


def test_a_word_too_short_for_a_key_is_left_in_answers(stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    stub.sends(200, json.dumps({"choices": [{"message": {"content": "with none around"}}]}).encode())
    assert endpoint(stub.url).answer("hello") == "with none around"
