"""A server that answers with whatever bytes a test wants: what an ASGI application cannot do, such as a broken status
line or a reset."""

import socket
import struct
import threading
from typing import Self

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


class FaultServer:
    """Serves `script` to every connection: bytes to send, seconds to wait, or `RESET`. Notes what it was sent."""

    RESET = object()

    def __init__(self, *script: object) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.received: list[bytes] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        with socket.create_connection(self._listener.getsockname()):  # wakes the accept
            pass
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            connection, _ = self._listener.accept()
            with connection:
                if self._over.is_set():
                    return
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(2)
        try:
            self.received.append(connection.recv(65_536))
            for step in self._script:
                if step is self.RESET:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                if isinstance(step, bytes):
                    connection.sendall(step)
                elif isinstance(step, float):
                    self._over.wait(step)
        except OSError:
            pass  # the client went first


def closed_port() -> int:
    """A port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
