"""The web application over exported models: one image is computed at a time, and few may wait."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fornet_keras.errors import DataError, ServingError
from fornet_keras.prediction.artifact import ArtifactPredictor
from fornet_keras.serving.answers import OUTPUTS, Answer, answer, described

LOG = logging.getLogger(__name__)
PAGE = Path(__file__).with_name("page.html")
MAX_BYTES = 20_000_000
"""Largest image file."""
MAX_DISCARDED = 5 * MAX_BYTES
"""Most of a body that is read although it was refused."""
BODY_SECONDS = 10.0
"""An image that is still not there after so long is given up."""
ASKED = ("model", "output")
"""What a request may name in its address."""

# The page loads nothing from elsewhere, and the browser sees to that.
PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; frame-ancestors 'none'"
)


class Service:
    """Answers over some artifacts.

    Args:
        artifacts: by name; the first one answers where none is named.
        queue: requests that may be read, wait or be computed at a time; one more gets a 503.
        body_seconds: time in which an image has to arrive.
    """

    def __init__(
        self, artifacts: Mapping[str, ArtifactPredictor], queue: int, body_seconds: float = BODY_SECONDS
    ) -> None:
        self.artifacts = artifacts
        self.queue = queue
        self.body_seconds = body_seconds
        self.waiting = 0
        self.worker = ThreadPoolExecutor(1, "predict")  # the runtimes themselves use every core
        self.turn = asyncio.Lock()
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("fornet_requests", "Predictions, by status", ["status"], registry=registry)
        waiting = Gauge("fornet_waiting", "Requests read, waiting or computed", registry=registry)
        waiting.set_function(lambda: self.waiting)
        self.seconds = Histogram("fornet_model_seconds", "Time in the model", ["model"], registry=registry)

    async def predict(self, request: Request) -> Response:
        """`POST /v1/predict`: the bytes of an image in, `output` of `model` out."""
        try:
            response = await self._predict(request)
        except HTTPException as error:
            self.requests.labels(str(error.status_code)).inc()
            raise
        except ClientDisconnect:
            self.requests.labels("499").inc()  # as nginx calls it
            return Response(status_code=499)  # nobody reads it
        self.requests.labels("200").inc()
        return response

    async def _predict(self, request: Request) -> Response:
        artifact, output = self._asked(request)
        if self.waiting >= self.queue:
            raise HTTPException(503, f"{self.queue} requests are waiting; try again", {"Retry-After": "1"})
        self.waiting += 1
        try:
            content = await self._body(request)
            async with self.turn:
                if await request.is_disconnected():
                    raise ClientDisconnect
                result, media_type, milliseconds = await self._answer(artifact, content, output)
        except asyncio.CancelledError:  # uvicorn has waited for it as long as it does
            raise HTTPException(503, "the server is ending; try again", {"Retry-After": "1"}) from None
        finally:
            self.waiting -= 1
        self.seconds.labels(artifact.name).observe(milliseconds / 1000)
        if await request.is_disconnected():
            raise ClientDisconnect
        headers = {"Server-Timing": f"model;dur={milliseconds:.3f}", "Cache-Control": "no-store"}
        if isinstance(result, dict):
            return JSONResponse(result, headers=headers)
        return Response(result, media_type=media_type, headers=headers)

    async def _answer(self, artifact: ArtifactPredictor, content: bytes, output: str) -> Answer:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self.worker, answer, artifact, content, output)
        except (DataError, ServingError) as error:
            raise HTTPException(400, str(error)) from None
        except Exception:
            LOG.exception("%s could not answer", artifact.name)
            raise HTTPException(500, f"{artifact.name} could not answer; the server's log says why") from None

    def _asked(self, request: Request) -> tuple[ArtifactPredictor, str]:
        """The artifact and the output that a request names."""
        keys = [key for key, _ in request.query_params.multi_items()]
        for key in keys:
            if key not in ASKED or keys.count(key) > 1:
                state = f"{key[:40]!r} is in the address" + " twice" * (key in ASKED)
                raise HTTPException(400, f"{state}; expected {' and '.join(ASKED)}, each at most once")
        name = request.query_params.get("model", next(iter(self.artifacts)))
        if name not in self.artifacts:
            expected = ", ".join(self.artifacts)
            raise HTTPException(404, f"no model of the name {name[:40]!r}; expected one of {expected}")
        output = request.query_params.get("output", "json")
        if output not in OUTPUTS:
            expected = ", ".join(OUTPUTS)
            raise HTTPException(400, f"no output of the name {output[:40]!r}; expected one of {expected}")
        return self.artifacts[name], output

    async def _body(self, request: Request) -> bytes:
        """The image's bytes, so many and so long as they may be."""
        if request.headers.get("content-type", "").startswith("multipart/"):
            raise HTTPException(415, "expected the bytes of the image as the body, not a form with a file")
        size = int(request.headers.get("content-length", 0))
        found = f"{max(size, MAX_BYTES + 1):,} bytes or more"
        too_large = HTTPException(413, f"the image: {found}; expected at most {MAX_BYTES:,}; make it smaller")
        if size > MAX_BYTES:
            raise too_large
        content = bytearray()
        try:
            async with asyncio.timeout(self.body_seconds):
                async for chunk in request.stream():
                    content += chunk
                    if len(content) > MAX_BYTES:
                        raise too_large
        except TimeoutError:
            late = f"the image did not arrive within {self.body_seconds:g} seconds"
            raise HTTPException(408, late) from None
        if not content:
            raise HTTPException(400, "expected the bytes of a PNG, JPEG, WebP or BMP file as the body")
        return bytes(content)

    async def models(self, request: Request) -> Response:
        """`GET /v1/models`: what there is to ask."""
        return JSONResponse([described(artifact) for artifact in self.artifacts.values()])

    async def health(self, request: Request) -> Response:
        """`GET /health`: models are loaded before the first request is answered."""
        return JSONResponse({"status": "ok", "waiting": self.waiting, "models": list(self.artifacts)})

    async def metrics(self, request: Request) -> Response:
        """`GET /metrics`, for Prometheus."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)


async def _page(request: Request) -> Response:
    return HTMLResponse(PAGE.read_text("utf-8"), headers={"Content-Security-Policy": PAGE_POLICY})


async def _refused(request: Request, error: Exception) -> Response:
    """An error as JSON, in one line."""
    assert isinstance(error, HTTPException)
    detail = error.detail
    if detail == HTTPStatus(error.status_code).phrase:  # Starlette's own: there is no such path or method
        routes = ", ".join(f"{min(route.methods)} {route.path}" for route in request.app.routes)
        detail = f"{request.method} {request.url.path[:40]!r}: {detail}; expected one of {routes}"
    return JSONResponse({"error": detail}, error.status_code, headers=error.headers)


def _closes(scope: Scope) -> bool:
    """Whether the connection ends with the answer, and the client does not wait to be asked for the body."""
    headers = {name: value.lower() for name, value in scope["headers"]}
    last = scope["http_version"] == "1.0" or b"close" in headers.get(b"connection", b"")
    return last and b"expect" not in headers


def _after_the_body(app: ASGIApp, seconds: float) -> ASGIApp:
    """An application that ends a connection only when it has read the body, also where it refuses that.

    A client that still sends would get a reset in the place of the answer.
    """

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        unread = _closes(scope)

        async def reading() -> Message:
            nonlocal unread
            message = await receive()
            unread = unread and message.get("more_body", False)
            return message

        async def answering(message: Message) -> None:
            if unread and message["type"] == "http.response.body":
                await send({**message, "more_body": True})
                message, size = {"type": "http.response.body"}, 0
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        while unread and size < MAX_DISCARDED:
                            size += len((await reading()).get("body", b""))
            await send(message)

        await app(scope, reading, answering)

    return run


def make_app(service: Service) -> ASGIApp:
    """The routes over a service."""
    routes: list[Any] = [
        Route("/", _page),
        Route("/v1/models", service.models),
        Route("/v1/predict", service.predict, methods=["POST"]),
        Route("/health", service.health),
        Route("/metrics", service.metrics),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _refused})
    app.router.redirect_slashes = False  # its answer would have no body
    return _after_the_body(app, service.body_seconds)
