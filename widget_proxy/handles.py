"""What browsers hold of us, and cannot read or change: handles of sessions, references to tasks and to files.

Signed and dated with itsdangerous, what belongs to upstream sealed with AES-GCM inside. A signature alone would do
for integrity; the sealing hides upstream's session id and token, and keys differ by purpose, so that a reference
never passes for a handle. Nothing is stored: a restart breaks no session.
"""

import base64
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from itsdangerous import BadSignature, TimestampSigner

LIFETIME = timedelta(days=7) - timedelta(minutes=5)
"""Upstream's token stops 7 days after the session's start, whatever happens in it; we stop a little earlier."""

FILE_LIFETIME = timedelta(hours=24) - timedelta(minutes=5)
"""Upstream drops a file that went with no message 24 hours after its upload; we forget it a little earlier."""

SKEW = timedelta(seconds=60)
"""How far another host's clock may be ahead of ours."""

LONGEST = 4096
"""Characters. Longer ones are not looked at: a front proxy's lines of a header end at 8 KiB."""

SIGNED_BYTES = 2048
"""Most that a session remembers of a signed page context, as JSON in UTF-8: it is in the handle."""

KEPT_OPEN = 2048
"""Sessions remembered by their handles: each tab, stream and message brings the same one, and opening costs 30 µs."""

LONGEST_BEARER = 8192
"""Characters. Upstream says how long its tokens are; no browser sends us one."""

# Base64 has two alphabets, and bits at its end that mean nothing; decoders take all: only one spelling is ours.
_SHAPE = re.compile(r"[A-Za-z0-9_.-]+")

_NONCE = 12


class HandleInvalid(Exception):
    """Not ours, changed, or made for something else."""


class HandleExpired(Exception):
    """Ours, and too old."""


@dataclass(frozen=True, slots=True)
class ChatSession:
    """One session, as its handle carries it. `token` is None where upstream's channel predates session tokens.

    `visitor` names the verified visitor, by `visitor_tokens.visitor_key`; `signed_context` is what was signed of the
    page when the session started. Who has no token has neither.
    """

    site: str
    session_id: str
    token: str | None
    origin: str
    started: datetime
    visitor: str | None = None
    signed_context: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def key(self) -> str:
        """Names the session in logs and the broker without telling upstream's id."""
        return _log_key(self.site, self.session_id)

    @property
    def expires(self) -> datetime:
        """When the handle stops working."""
        return self.started + LIFETIME

    def __repr__(self) -> str:
        return f"ChatSession({self.site!r}, {self.key})"


@lru_cache(KEPT_OPEN)
def _log_key(site: str, session_id: str) -> str:
    return hashlib.sha256(f"{site}\0{session_id}".encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class AwaitedTask:
    """An answer in the making. `ref` is what browsers hold and events name; only we read the id out of it."""

    ref: str
    task_id: str
    accepted: datetime

    def __repr__(self) -> str:
        return f"AwaitedTask(accepted={self.accepted.isoformat()})"


@dataclass(frozen=True, slots=True)
class UploadedRef:
    """A file that upstream took, on its way into a message. `size` in bytes."""

    file_id: int
    size: int

    def __repr__(self) -> str:
        return f"UploadedRef(size={self.size})"


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """A file that a message of a session showed. `session` is the session's key, `name` a clean one."""

    site: str
    session: str
    file_id: str
    name: str

    def __repr__(self) -> str:
        return f"AttachedFile({self.site!r}, {self.session})"


class Handles:
    """Makes and opens them. `secret_keys`: oldest first, the last one signs. `now` gives aware datetimes."""

    def __init__(self, secret_keys: Sequence[str], now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self.rotate(secret_keys)

    def rotate(self, secret_keys: Sequence[str]) -> None:
        """Sign and open with these from now on."""
        self._sessions = _Sealer("handle", secret_keys, self._now)
        self._tasks = _Sealer("task", secret_keys, self._now)
        self._files = _Sealer("file", secret_keys, self._now)
        self._attached = _Sealer("attached", secret_keys, self._now)
        self._bearers = _Sealer("bearer", secret_keys, self._now)
        # What was opened by other keys is not remembered.
        self._opened = lru_cache(KEPT_OPEN)(self._open_session)

    def seal_session(self, session: ChatSession) -> str:
        """A handle for `session`."""
        payload: dict[str, Any] = {"s": session.session_id, "t": session.token, "o": session.origin}
        if session.visitor is not None:
            payload |= {"v": session.visitor, "c": dict(session.signed_context)}
        return self._sessions.seal({"w": session.site, **payload}, "", session.started)

    def open_session(self, handle: str) -> ChatSession:
        """The session behind a handle. Raises `HandleInvalid` or `HandleExpired`."""
        session = self._opened(handle)
        if self._now() > session.expires:
            raise HandleExpired
        return session

    def _open_session(self, handle: str) -> ChatSession:
        payload, started = self._sessions.open(handle, "")
        return ChatSession(
            site=payload["w"],
            session_id=payload["s"],
            token=payload["t"],
            origin=payload["o"],
            started=started,
            visitor=payload.get("v"),
            signed_context=payload.get("c", {}),
        )

    def seal_task(self, session: ChatSession, task_id: str, accepted: datetime) -> AwaitedTask:
        """A reference to a task of `session`."""
        ref = self._tasks.seal({"i": task_id}, session.key, accepted)
        return AwaitedTask(ref, task_id, accepted)

    def open_task(self, session: ChatSession, ref: str) -> AwaitedTask:
        """The task behind a reference made for this session. Raises `HandleInvalid`."""
        payload, accepted = self._tasks.open(ref, session.key)
        return AwaitedTask(ref, payload["i"], accepted)

    def seal_file(self, session: ChatSession, file: UploadedRef) -> str:
        """A reference to a file uploaded just now in `session`."""
        return self._files.seal({"i": file.file_id, "b": file.size}, session.key, self._now())

    def open_file(self, session: ChatSession, ref: str) -> UploadedRef:
        """The file behind a reference made for this session. Raises `HandleInvalid` or `HandleExpired`."""
        payload, uploaded = self._files.open(ref, session.key)
        if self._now() - uploaded > FILE_LIFETIME:
            raise HandleExpired
        return UploadedRef(payload["i"], payload["b"])

    def seal_attached(self, session: ChatSession, file: AttachedFile) -> str:
        """A link's reference to a file that was seen in `session`; it expires with it. Whoever has it has it."""
        payload = {"w": file.site, "k": file.session, "i": file.file_id, "n": file.name}
        return self._attached.seal(payload, "", session.started)

    def open_attached(self, ref: str) -> AttachedFile:
        """The file behind a link's reference. Raises `HandleInvalid` or `HandleExpired`."""
        payload, started = self._attached.open(ref, "")
        if self._now() - started > LIFETIME:
            raise HandleExpired
        return AttachedFile(payload["w"], payload["k"], payload["i"], payload["n"])

    def seal_bearer(self, token: str, renew_at: float, expires: float) -> str:
        """An access token of upstream's, to lie where workers share it. Its moments are wall time, in seconds."""
        return self._bearers.seal({"t": token, "r": renew_at, "e": expires}, "", self._now())

    def open_bearer(self, sealed: str) -> tuple[str, float, float]:
        """Token, when to renew it, and when it expires. Raises `HandleInvalid`."""
        payload, _ = self._bearers.open(sealed, "", longest=LONGEST_BEARER)
        return payload["t"], payload["r"], payload["e"]


class _Sealer:
    """Seals for one purpose, with keys derived from the secrets for it alone."""

    def __init__(self, purpose: str, secret_keys: Sequence[str], now: Callable[[], datetime]) -> None:
        self._now = now
        self._ciphers = [AESGCM(_derive(secret, f"widget-proxy {purpose}")) for secret in reversed(secret_keys)]
        self._signer = _DatedSigner(
            list(secret_keys),
            salt=f"widget-proxy.{purpose}",
            sep=".",
            key_derivation="hmac",
            digest_method=hashlib.sha256,
        )

    def seal(self, payload: dict[str, Any], bound_to: str, moment: datetime) -> str:
        nonce = os.urandom(_NONCE)
        text = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
        sealed = nonce + self._ciphers[0].encrypt(nonce, text, bound_to.encode())
        return self._signer.sign_at(_encode(sealed), moment)

    def open(self, sealed: str, bound_to: str, longest: int = LONGEST) -> tuple[dict[str, Any], datetime]:
        if len(sealed) > longest or _SHAPE.fullmatch(sealed) is None:
            raise HandleInvalid
        try:
            value, moment = self._signer.unsign(sealed, return_timestamp=True)
            box = _decode(value)
            signature = sealed.rpartition(".")[2].encode()
        except (BadSignature, ValueError) as error:
            raise HandleInvalid from error
        if _encode(_decode(signature)) != signature:  # the rest is under it
            raise HandleInvalid
        if moment - self._now() > SKEW:
            raise HandleInvalid
        for cipher in self._ciphers:
            try:
                text = cipher.decrypt(box[:_NONCE], box[_NONCE:], bound_to.encode())
            except (InvalidTag, ValueError):
                continue
            payload: dict[str, Any] = json.loads(text)
            return payload, moment
        raise HandleInvalid


class _DatedSigner(TimestampSigner):
    """itsdangerous asks the wall clock itself; here the moment comes in as an argument."""

    _moment = 0

    def sign_at(self, value: bytes, moment: datetime) -> str:
        self._moment = int(moment.timestamp())
        return self.sign(value).decode("ascii")

    def get_timestamp(self) -> int:
        return self._moment


def _encode(value: bytes) -> bytes:
    return base64.urlsafe_b64encode(value).rstrip(b"=")


def _decode(text: bytes) -> bytes:
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))


def _derive(secret: str, info: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info.encode()).derive(secret.encode())
