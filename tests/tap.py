"""A relay on a port of its own that keeps every byte one server sends."""

import socket
import threading
from typing import Self

from tests.servers import HOST


class Tap:
    """Pass connections on to `port`, and keep what comes back, as it is on the wire: `sent`."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server((HOST, 0))
        self.url = f"http://{HOST}:{self._listener.getsockname()[1]}"
        self._kept = bytearray()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    @property
    def sent(self) -> bytes:
        """Everything so far."""
        return bytes(self._kept)

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(self, *exception: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for connection in self._open:
            connection.close()
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _run(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection((HOST, self._target))
            except OSError:
                return
            self._open += [client, server]
            self._run(self._pass, client, server, False)
            self._run(self._pass, server, client, True)

    def _pass(self, source: socket.socket, target: socket.socket, keep: bool) -> None:
        try:
            while piece := source.recv(65_536):
                if keep:
                    self._kept += piece
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return
