"""The service in a thread of this process: clients that are slow, late or gone, and errors of its own."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import Mock

import pytest
import uvicorn

from fornet_keras.errors import ExportError
from fornet_keras.serving.app import Service
from fornet_keras.serving.artifacts import open_artifacts
from fornet_keras.serving.server import TimeoutProtocol, configuration, listen
from tests.serving.conftest import Server, picture, png


@contextmanager
def listening_here(service: Service) -> Iterator[tuple[str, int]]:
    """The address of a service that listens in a thread of this process."""
    with listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(configuration(service))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield listening.getsockname()
        finally:
            server.should_exit = True
            thread.join()
            service.worker.shutdown()


def ask(
    address: tuple[str, int], path: str, body: bytes, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    return Server(None, "{}:{}".format(*address)).ask("POST", path, body, headers)  # type: ignore[arg-type]


def test_a_full_queue_and_slow_clients(ratios: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TimeoutProtocol, "wait_seconds", 0.3)
    service = Service(open_artifacts([ratios / "k1"]), queue=1, body_seconds=2)
    assert configuration(service).timeout_keep_alive > 60, "else a proxy asks through what is being closed"
    with listening_here(service) as address:
        with socket.create_connection(address, timeout=30) as slow_head:
            slow_head.sendall(b"POST /v1/pre")
            assert slow_head.recv(100).startswith(b"HTTP/1.1 408 ")
        with socket.create_connection(address, timeout=30) as slow_body:
            slow_body.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nhalf")
            while not service.waiting:
                time.sleep(0.01)
            status, headers, content = ask(address, "/v1/predict", b"x")
            assert (status, headers["retry-after"]) == (503, "1")
            assert b"1 requests are waiting; try again" in content
            status, _, content = ask(address, "/v1/predict", bytes(5_000_000), {"Connection": "close"})
            assert (status, b"try again" in content) == (503, True)
            assert slow_body.recv(1000).startswith(b"HTTP/1.1 408 ")
        with socket.create_connection(address, timeout=30) as after_the_answer:
            head = b"POST /v1/predict?model=none HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n"
            after_the_answer.sendall(head)
            assert after_the_answer.recv(1000).startswith(b"HTTP/1.1 404 ")
            after_the_answer.sendall(b"x")
            while after_the_answer.recv(1000):  # until it is closed
                pass
        assert service.waiting == 0


@pytest.mark.parametrize("connection", [b"keep-alive", b"close"])
def test_a_client_that_is_late_and_still_sends_is_told(connection: bytes, ratios: Path) -> None:
    service = Service(open_artifacts([ratios / "k1"]), queue=1, body_seconds=2)
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 7000000\r\nConnection: %s\r\n\r\n"
    with listening_here(service) as address, socket.create_connection(address, timeout=30) as client:
        client.sendall(head % connection)
        for _ in range(7):
            client.sendall(bytes(1_000_000))
            time.sleep(0.5)
        assert client.recv(1000).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("connection", [b"keep-alive", b"close"])
def test_an_answer_that_nobody_reads_is_given_up(
    connection: bytes, ratios: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a few hundred such clients are all that the server ever has."""
    size = 16_000_000  # more than the sockets take
    large = Mock(return_value=(bytes(size), "image/png", 1.0))
    monkeypatch.setattr("fornet_keras.serving.app.answer", large)
    monkeypatch.setattr(TimeoutProtocol, "read_seconds", 0.3)
    service = Service(open_artifacts([ratios / "k1"]), queue=1)
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: %s\r\n\r\nx"
    with listening_here(service) as address, socket.create_connection(address, timeout=30) as client:
        client.sendall(head % connection)
        time.sleep(0.8)
        received = 0
        with suppress(ConnectionError):
            while content := client.recv(1 << 20):
                received += len(content)
        assert received < size


def test_what_nobody_waits_for_is_not_computed(ratios: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that give up and ask again would else keep the model busy for nobody."""
    free = threading.Event()
    computed = Mock(side_effect=lambda *_: free.wait(30) and ({}, "application/json", 1.0))
    monkeypatch.setattr("fornet_keras.serving.app.answer", computed)
    service = Service(open_artifacts([ratios / "k1"]), queue=3)

    def waiting(number: int) -> None:
        while service.waiting != number:
            time.sleep(0.01)

    with listening_here(service) as address, ThreadPoolExecutor(1) as clients:
        for number in (1, 2):  # the first is being computed
            with socket.create_connection(address, timeout=30) as gone:
                gone.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
                waiting(number)
        last = clients.submit(ask, address, "/v1/predict", b"x")
        waiting(3)
        free.set()
        assert (last.result()[0], computed.call_count) == (200, 2)
    for status, count in (("200", 1), ("499", 2)):
        assert service.registry.get_sample_value("fornet_requests_total", {"status": status}) == count
    seconds = service.registry.get_sample_value("fornet_model_seconds_sum", {"model": "k1"})
    assert seconds == pytest.approx(0.002), "two answers of a millisecond"


@pytest.mark.parametrize("error", [ZeroDivisionError("by zero"), ExportError("by zero")])
def test_an_error_of_the_server_is_counted_and_said(
    error: Exception, ratios: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fornet_keras.serving.app.answer", Mock(side_effect=error))
    service = Service(open_artifacts([ratios / "k1"]), queue=1)
    with listening_here(service) as address:
        status, _, content = ask(address, "/v1/predict", png(picture()))
    assert (status, json.loads(content)) == (500, {"error": "k1 could not answer; the server's log says why"})
    assert service.registry.get_sample_value("fornet_requests_total", {"status": "500"}) == 1
    assert "by zero" in caplog.text


def test_what_the_end_leaves_no_time_for_is_told_to_come_back(
    ratios: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fornet_keras.serving.app.answer", lambda *_: time.sleep(2))
    monkeypatch.setattr("fornet_keras.serving.server.END_SECONDS", 0.2)
    service = Service(open_artifacts([ratios / "k1"]), queue=2)
    with ThreadPoolExecutor(2) as clients:
        with listening_here(service) as address:
            asked = [clients.submit(ask, address, "/v1/predict", b"x") for _ in range(2)]
            while service.waiting < 2:
                time.sleep(0.01)
        for status, headers, content in (reply.result() for reply in asked):
            assert (status, headers["retry-after"]) == (503, "1")
            assert json.loads(content) == {"error": "the server is ending; try again"}
    assert service.registry.get_sample_value("fornet_requests_total", {"status": "503"}) == 2
    assert "Traceback" not in capfd.readouterr().err
