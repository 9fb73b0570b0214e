"""nginx and Caddy as they are meant to stand in front of the proxy: with the files of `deploy/`, in which only ports,
paths, the certificate and, where a test says so, times are other ones."""

import os
import shutil
import socket
import ssl
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.servers import HOST, SHOP_ORIGIN, Server, free_port

DEPLOY = Path(__file__).parent.parent / "deploy"
NAME = "chat.example.com"


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate for `NAME` that nobody signed but its own key: its file, and the key's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME), x509.IPAddress(ip_address(HOST))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    files = directory / "certificate.pem", directory / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def replaced(text: str, changes: Mapping[str, str]) -> str:
    """`text` with each of these in place of what stands there now, which has to be there."""
    for old, new in changes.items():
        assert old in text, f"the configuration has no {old!r} any more"
        text = text.replace(old, new)
    return text


class Front(Server, ABC):
    """A front server before one proxy. `changes`: what else is to be replaced in its files."""

    def __init__(self, directory: Path, backend_port: int, changes: Mapping[str, str] | None = None) -> None:
        super().__init__([], free_port(), directory / "front.log")
        self.url = f"https://{NAME}:{self.port}"
        self.directory = directory
        self.plain_port = free_port()
        self.certificate, self.key = make_certificate(directory)
        self._command = self.write(backend_port, changes or {})

    @abstractmethod
    def write(self, backend_port: int, changes: Mapping[str, str]) -> list[str]:
        """Write its files; the command that serves with them."""

    @abstractmethod
    def reload(self) -> None:
        """Have it read its files again, as an operator does; returns when new connections meet the new ones."""

    def client(
        self,
        handle: str | None = None,
        *,
        http2: bool = True,
        local: str = HOST,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Client:
        """A client as a browser is one, from the address `local` of this machine."""
        told = {"Origin": SHOP_ORIGIN, "Host": NAME, **(headers or {})}
        if handle is not None:
            told["Authorization"] = f"Bearer {handle}"
        trust = ssl.create_default_context(cafile=str(self.certificate))
        trust.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
        transport = httpx2.HTTPTransport(verify=trust, http1=not http2, http2=http2, local_address=local)
        return httpx2.Client(
            base_url=f"https://{HOST}:{self.port}", headers=told, timeout=10, transport=transport, trust_env=False
        )


class Nginx(Front):
    """nginx with `deploy/nginx`."""

    def write(self, backend_port: int, changes: Mapping[str, str]) -> list[str]:
        main = (DEPLOY / "nginx/nginx.conf").read_text()
        server = (DEPLOY / "nginx/widget-proxy.conf").read_text()
        both = main + "\x00" + server
        temporary = "".join(
            f"{what}_temp_path {self.directory / what};" for what in ("proxy", "fastcgi", "uwsgi", "scgi")
        )
        both = replaced(
            both,
            {
                "user www-data;": f"daemon off; {'user root;' if os.geteuid() == 0 else ''}",
                "worker_processes auto;": "worker_processes 2;",
                "/run/nginx.pid": str(self.directory / "nginx.pid"),
                "/var/log/nginx/": f"{self.directory}/",
                "/etc/nginx/widget-proxy.conf": str(self.directory / "widget-proxy.conf"),
                "http {": f"http {{ client_body_temp_path {self.directory / 'body'}; {temporary}",
                "127.0.0.1:8080": f"{HOST}:{backend_port}",
                "listen 443 ssl http2;": f"listen {HOST}:{self.port} ssl http2;",
                "listen 80;": f"listen {HOST}:{self.plain_port};",
                f"/etc/letsencrypt/live/{NAME}/fullchain.pem": str(self.certificate),
                f"/etc/letsencrypt/live/{NAME}/privkey.pem": str(self.key),
                **changes,
            },
        )
        main, _, server = both.partition("\x00")
        (self.directory / "nginx.conf").write_text(main)
        (self.directory / "widget-proxy.conf").write_text(server)
        # Not among the commands of everybody on Debian.
        nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin") or "nginx"
        return [nginx, "-p", str(self.directory), "-c", str(self.directory / "nginx.conf"), "-e", "stderr"]

    def reload(self) -> None:
        before = set(self.children())
        subprocess.run([*self._command, "-s", "reload"], check=True, capture_output=True, timeout=20)
        deadline = time.monotonic() + 10
        while len(set(self.children()) - before) < 2 or any(map(_accepts, before)):
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.01)


class Caddy(Front):
    """Caddy with `deploy/caddy`."""

    def write(self, backend_port: int, changes: Mapping[str, str]) -> list[str]:
        self._admin = f"{HOST}:{free_port()}"
        text = replaced(
            (DEPLOY / "caddy/Caddyfile").read_text(),
            {
                "admin localhost:2019": f"admin {self._admin}\n\thttp_port {self.plain_port}\n\thttps_port {self.port}\n"
                f"\tdefault_bind {HOST}\n\tskip_install_trust",
                f"\n{NAME} {{": f"\n{NAME} {{\n\ttls {self.certificate} {self.key}",
                "127.0.0.1:8080": f"{HOST}:{backend_port}",
                **changes,
            },
        )
        self._file = self.directory / "Caddyfile"
        self._file.write_text(text)
        self._environment |= {"HOME": str(self.directory), "XDG_DATA_HOME": str(self.directory / "data")}
        self._environment |= {"XDG_CONFIG_HOME": str(self.directory / "config")}
        return ["caddy", "run", "--adapter", "caddyfile", "--config", str(self._file)]

    def reload(self) -> None:
        command = ["caddy", "reload", "--force", "--adapter", "caddyfile", "--config", str(self._file)]
        subprocess.run(
            [*command, "--address", self._admin],
            check=True,
            capture_output=True,
            timeout=30,
            env=self._environment,
        )


def _accepts(worker: int) -> bool:
    """Whether this worker of nginx still takes new connections; its title says so when it does not."""
    try:
        return b"shutting down" not in Path(f"/proc/{worker}/cmdline").read_bytes()
    except OSError:
        return False


FRONTS: Sequence[type[Front]] = (Nginx, Caddy)


def answers_plainly(front: Front) -> str:
    """What it says on the port without TLS: where it sends a browser to."""
    with socket.create_connection((HOST, front.plain_port), timeout=5) as connection:
        connection.sendall(f"GET /widget.js?x=1 HTTP/1.0\r\nHost: {NAME}\r\n\r\n".encode())
        return connection.makefile("rb").read().decode("latin-1")
