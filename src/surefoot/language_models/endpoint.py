"""A language model behind an OpenAI-compatible endpoint.

The key goes to that address alone: it stands in no message and no file, follows no redirect, and leaves the machine
encrypted or not at all.
"""

import http.client
import ipaddress
import json
import os
import time
import urllib.request
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from surefoot.language_models.base import TOKENS, whole_lines

BYTES = 1 << 20  # of an answer at most
SHOWN = 200  # letters of an answer in a message
SECRET = 8  # letters that make a key; local servers take any word, such as "none"
REMEDIES = {
    401: "set the environment variable that --key-env names to a key which is valid there",
    403: "set the environment variable that --key-env names to a key which may use this model",
    404: "check the address, which often ends in /v1, and --model",
    429: "wait until the endpoint takes requests again",
}


@dataclass(frozen=True)
class Endpoint:
    """What answers at `url`/chat/completions; an empty key sends none."""

    url: str
    model: str
    timeout: float  # seconds
    key: str = field(repr=False)

    @classmethod
    def at(cls, url: str, *, model: str, key_env: str, timeout: float) -> Self:
        """The endpoint with the key of an environment variable. Raises ValueError for an option that cannot be."""
        _require_address(url)
        if not model.strip():
            raise ValueError(f"--lm={url} is an endpoint; name one of its models with --model")
        key = os.environ.get(key_env, "").strip() if key_env else ""
        if not key.isascii() or not key.isprintable():
            raise ValueError(f"--key-env={key_env}: the variable holds characters that no key has; set it anew")
        if key and urlsplit(url).scheme == "http" and not _is_this_machine(url):
            raise ValueError(
                f"--lm={url}: the key in --key-env={key_env} would travel unencrypted; give an https:// address, "
                "or --key-env '' where no key is needed"
            )
        return cls(url.rstrip("/"), model, timeout, key)

    @property
    def name(self) -> str:
        return f"{self.model} at {self.url}"

    def answer(self, request: str) -> str:
        """The text of the first choice."""
        asked = {
            "model": self.model,
            "messages": [{"role": "user", "content": request}],
            "temperature": 0,
            "max_tokens": TOKENS,
        }
        body = self._post(json.dumps(asked).encode())
        try:
            choice = json.loads(body)["choices"][0]
            text, whole = choice["message"]["content"], choice.get("finish_reason") != "length"
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            text, whole = None, False
        if not isinstance(text, str):
            raise ValueError(
                f"--lm={self.url} answered what is no chat completion in JSON: {self._beginning(body)}; "
                "give the address of an OpenAI-compatible endpoint, which often ends in /v1"
            )
        return self._without_key(text if whole else whole_lines(text))

    def _post(self, data: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "User-Agent": "surefoot"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(f"{self.url}/chat/completions", data, headers)
        proxies = urllib.request.ProxyHandler({} if _is_this_machine(self.url) else None)
        deadline = time.monotonic() + self.timeout
        try:
            with urllib.request.build_opener(_NoRedirects, proxies).open(request, timeout=self.timeout) as response:
                return self._read(response, deadline)
        except HTTPError as error:
            with error:
                raise ValueError(self._refusal(error, deadline)) from None
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, URLError) else error
            if isinstance(reason, TimeoutError):
                raise ValueError(
                    f"--lm={self.url} did not answer within --timeout={self.timeout:g} seconds; give it more"
                ) from None
            raise ValueError(
                f"--lm={self.url} cannot be reached ({self._without_key(repr(reason))}); "
                "check the address, and that a server runs there"
            ) from None

    def _read(self, response: Any, deadline: float) -> bytes:
        """The body. A socket's timeout alone would let a server send a byte now and then for ever."""
        body = b""
        while part := response.read1(1 << 16):
            body += part
            if len(body) > BYTES:
                raise ValueError(f"--lm={self.url} answered more than {BYTES} bytes; take another --model")
            if time.monotonic() > deadline:
                raise TimeoutError
        return body

    def _refusal(self, error: HTTPError, deadline: float) -> str:
        if 300 <= error.code < 400:
            return f"--lm={self.url} sends requests on to another address (HTTP {error.code}); give that one itself"
        try:
            said = self._beginning(self._read(error, deadline))
        except (OSError, ValueError, http.client.HTTPException):
            said = "no more than that"
        remedy = REMEDIES.get(error.code, "see the server's log, or take another --model")
        return f"--lm={self.url} answered --model={self.model} with HTTP {error.code}: {said}; {remedy}"

    def _beginning(self, body: bytes) -> str:
        return repr(self._without_key(body.decode("utf-8", errors="replace"))[:SHOWN])

    def _without_key(self, text: str) -> str:
        return text.replace(self.key, "***") if len(self.key) >= SECRET else text


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would take the key elsewhere; without a new request it is an HTTPError."""

    def redirect_request(self, *_: object) -> None:
        return None


def _require_address(url: str) -> None:
    if "@" in url:
        raise ValueError("--lm holds a name or a password; give the address without, and the key by --key-env")
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known or "?" in url or "#" in url or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"--lm={url!r} is no endpoint's address; give one such as http://localhost:8000/v1")


def _is_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
