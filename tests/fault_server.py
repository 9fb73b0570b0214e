"""A server that answers with whatever bytes a test wants: what an ASGI application cannot do, such as a broken status
line or a reset."""

import re
import socket
import ssl
import struct
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


class FaultServer:
    """Serves `script` to every connection: bytes to send, seconds to wait, `NEXT` for another request on the same
    connection, or `RESET`. Notes the requests it was sent. With `tls` it shows a certificate nobody vouches for."""

    RESET = object()
    NEXT = object()

    def __init__(self, *script: object, tls: bool = False) -> None:
        self._script = script
        self._tls = _self_signed() if tls else None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"
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
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            self._read_request(connection)
            for step in self._script:
                if step is self.NEXT:
                    self._read_request(connection)
                elif step is self.RESET:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                elif isinstance(step, bytes):
                    connection.sendall(step)
                elif isinstance(step, float):
                    self._over.wait(step)
        except OSError:
            pass  # the client went first

    def _read_request(self, connection: socket.socket) -> None:
        """To its end: a connection closed with something unread is reset, and may take the answer with it."""
        request = b""
        while b"\r\n\r\n" not in request:
            request += self._more(connection)
        head, _, body = request.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        while length is not None and len(body) < int(length[1]):
            body += self._more(connection)
        self.received.append(head + b"\r\n\r\n" + body)

    @staticmethod
    def _more(connection: socket.socket) -> bytes:
        if not (received := connection.recv(65_536)):
            raise ConnectionError("the client went first")
        return received


def _self_signed() -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(
            name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1)
        )
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(certificate.public_bytes(Encoding.PEM))
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        file.flush()
        context.load_cert_chain(file.name)
    return context


def closed_port() -> int:
    """A port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
