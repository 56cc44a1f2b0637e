"""The process that listens: addresses, signals, and clients that are slow to ask."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from fornet_keras.errors import ServingError, os_reason
from fornet_keras.serving.app import Service, make_app

MAX_CONNECTIONS = 512
WAIT_SECONDS = 10.0
END_SECONDS = 30
IDLE_SECONDS = 75
"""Proxies keep a connection for a minute: one closed before may be what they are just asking through."""
READ_SECONDS = 60.0
"""An answer that its client has still not taken after so long is given up."""
LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class TimeoutProtocol(H11Protocol):
    """HTTP in which the head of a request, and a body that nobody reads, have to arrive in time.

    uvicorn itself waits for ever for the one, and for the other where a byte comes after the answer; and for
    a client to read its answer, also when it has closed the connection.
    """

    wait_seconds = WAIT_SECONDS
    read_seconds = READ_SECONDS
    _due: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(0)  # writing pauses as long as a byte of the answer is here
        self._due = self.loop.call_later(self.wait_seconds, self._late)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._waits():
            self._stop()
        elif self._due is None:
            self._due = self.loop.call_later(self.wait_seconds, self._late)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self.read_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._read()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # there is an answer already
            self.transport.close()
            return
        if self.cycle:
            self.cycle.disconnected = True  # or else its application would answer too
        super().send_400_response(msg)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        self._read()
        super().connection_lost(exc)

    def _stop(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _waits(self) -> bool:
        """Whether the client is to send something on and no answer is being made."""
        return self.conn.their_state is h11.IDLE or self.conn.our_state is h11.DONE

    def _late(self) -> None:
        self._due = None
        if self._waits() and not self.transport.is_closing():
            if self.conn.their_state is h11.IDLE:
                self.transport.write(LATE)
            self.transport.close()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        ServingError: the address cannot be had.
    """
    if not host:
        raise ServingError(
            "an empty --host means every address; expected one, or 0.0.0.0 where that is meant"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        host.encode("idna")  # of a name that is none, create_server would leave its socket open
        return socket.create_server((host, port), family=family, backlog=MAX_CONNECTIONS)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = os_reason(error).partition(" (while attempting")[0]
        raise ServingError(
            f"{host}:{port}: cannot listen there ({reason}); choose another --host or --port"
        ) from None


def configuration(service: Service) -> uvicorn.Config:
    """How uvicorn serves."""
    return uvicorn.Config(
        make_app(service),
        http=TimeoutProtocol,
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=END_SECONDS,
    )


def run_server(service: Service, listening: socket.socket) -> None:
    """Serve until SIGINT, SIGTERM or, unless it is ignored, SIGHUP; then finish what was begun, and return.

    What `END_SECONDS` are not enough for is answered by a 503.
    """
    # uvicorn raises the signal once more when it has shut down, which would end the process by SIGTERM.
    handlers: dict[int, Any] = {signal.SIGTERM: signal.default_int_handler}
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup sets it
        handlers[signal.SIGHUP] = lambda *_: signal.raise_signal(signal.SIGTERM)  # uvicorn does not hear it
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        with suppress(KeyboardInterrupt):
            uvicorn.Server(configuration(service)).run(sockets=[listening])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        service.worker.shutdown(cancel_futures=True)
