"""The app over HTTP: a page, what it is about, and an answer for an image. What is shown comes from a Lens."""

import ipaddress
import socket
import threading
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surefoot.app.looking import Lens
from surefoot.data.images import UnreadableImage

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

NEEDED = ("starlette", "uvicorn")
PAGE = Path(__file__).with_name("page")
FILES = {
    "/": ("index.html", "text/html"),
    "/app.css": ("app.css", "text/css"),
    "/app.js": ("app.js", "text/javascript"),
}
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
ANY: frozenset[str] = frozenset()
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


def missing() -> list[str]:
    """Packages of the extra that are not installed."""
    return [name for name in NEEDED if find_spec(name) is None]


def require_extra() -> None:
    """ValueError where packages of the extra are missing."""
    if missing():
        raise ValueError(f"surefoot app needs {' and '.join(missing())}; pip install 'surefoot[app]'")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server at `host`, an address or "localhost"."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 is any free one. ValueError where the address cannot be had."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise ValueError(
            f"--host={host} --port={port} cannot be used ({error.strerror or error}); give another port, or 0 for any "
            "free one"
        ) from error


def address_of(bound: socket.socket) -> str:
    """Where a browser finds it."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def web_app(lens: Lens, *, max_bytes: int, hosts: frozenset[str] = LOOPBACK_NAMES) -> "Starlette":
    """The ASGI app; it answers to the names in `hosts` only, so that no other site can speak through a name of its own.

    Without `hosts`, it answers to any. Nothing that is uploaded is kept.
    """
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware import Middleware
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.responses import FileResponse, JSONResponse
    from starlette.routing import Route

    one_at_a_time = threading.Lock()
    about = {
        "task": lens.task,
        "models": [model.name for model in lens.models],
        "classes": len(lens.models[0].classifier.classes),
        "max_bytes": max_bytes,
        "notes": list(lens.notes),
    }

    def error(code: int, text: str) -> Any:
        return JSONResponse({"error": text}, status_code=code)

    def answer(content: bytes) -> dict[str, Any]:
        with one_at_a_time:
            return asdict(lens.look(content))

    async def tell_about(_: "Request") -> "Response":
        return JSONResponse(about)

    async def look(request: "Request") -> "Response":
        content = bytearray()
        too_large = int(request.headers.get("content-length", 0)) > max_bytes
        if not too_large:
            async for part in request.stream():
                content += part
                if len(content) > max_bytes:
                    too_large = True
                    break
        if too_large:
            return error(413, f"the file is larger than {max_bytes / 2**20:g} MiB; --max-upload sets the limit")
        try:
            return JSONResponse(await run_in_threadpool(answer, bytes(content)))
        except UnreadableImage as problem:
            return error(422, str(problem))

    async def guard(request: "Request", go_on: "Callable[[Request], Awaitable[Response]]") -> "Response":
        site = request.headers.get("sec-fetch-site", "same-origin")
        if hosts and request.url.hostname not in hosts:
            response = error(421, "this server does not answer to that name")
        elif request.method == "POST" and site not in ("same-origin", "none"):
            response = error(403, "another site may not ask")
        else:
            response = await go_on(request)
        response.headers.update(HEADERS)
        return response

    def sent(name: str, kind: str) -> Any:
        async def send(_: "Request") -> "Response":
            return FileResponse(PAGE / name, media_type=kind)

        return send

    return Starlette(
        routes=[
            *(Route(path, sent(*file), methods=["GET"]) for path, file in FILES.items()),
            Route("/about", tell_about, methods=["GET"]),
            Route("/look", look, methods=["POST"]),
        ],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=guard)],
    )


def serve(web: "Starlette", bound: socket.socket) -> None:
    """Answer requests until a signal stops the process."""
    import uvicorn

    config = uvicorn.Config(web, log_level="warning", access_log=False, server_header=False, lifespan="off", ws="none")
    uvicorn.Server(config).run(sockets=[bound])
