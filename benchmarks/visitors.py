"""Visitors as the proxy sees them: they speak `v1` over sockets, as the widget does, and note what they are shown."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp

from tests.servers import SHOP_ORIGIN

LOOK_SECONDS = 12.0
"""How long a visitor looks for a message of unknown fate in the transcript before it is sent again."""


@dataclass(slots=True)
class Sent:
    """One message of a visitor's. `task` None: it was found in the transcript, its 202 never came."""

    text: str
    key: str = field(default_factory=lambda: str(uuid4()))
    task: str | None = None
    accepted: bool = False


@dataclass(slots=True)
class Visitor:
    """One browser. `urls`: the workers it can reach; it turns to the next when one does not answer."""

    http: aiohttp.ClientSession
    urls: Sequence[str]
    chance: random.Random
    handle: str = ""
    cursor: str = ""
    sent: list[Sent] = field(default_factory=list)
    awaited: set[str] = field(default_factory=set)
    shown: list[dict[str, Any]] = field(default_factory=list)
    arrived: dict[str, float] = field(default_factory=dict)  # task or key -> wall time
    ends: dict[str, Counter[str]] = field(default_factory=dict)
    repeated: int = 0
    repeated_on_one_stream: int = 0
    connects: int = 0
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    refused: Counter[str] = field(default_factory=Counter)
    url: int = 0
    silence: float = 45.0
    """Seconds without a heartbeat after which a stream is given up."""
    retry: float = 1.0
    _known: set[str] = field(default_factory=set)
    _ended_on_this_stream: set[str] = field(default_factory=set)

    async def start(self) -> None:
        """Start a session, however often it takes."""
        while not self.handle:
            try:
                async with self.http.post(
                    f"{self._base}/v1/sites/shop/sessions", json={}, headers={"Origin": SHOP_ORIGIN}
                ) as answer:
                    if answer.status == 201:
                        self.handle = (await answer.json())["handle"]
                        return
                    self.refused[f"start {answer.status}"] += 1
            except (aiohttp.ClientError, TimeoutError):
                self._turn_away()
            await asyncio.sleep(0.2 + 0.5 * self.chance.random())

    async def say(self, text: str) -> Sent:
        """Send a message once, whatever happens on the way; returns when it was accepted or found."""
        sent = Sent(text)
        self.sent.append(sent)
        while True:
            fate = await self._post(sent)
            if sent.accepted:
                return sent
            if fate == "unknown":
                # Look first: the transcript shows it if it arrived.
                deadline = time.monotonic() + LOOK_SECONDS
                while time.monotonic() < deadline:
                    if any(one["role"] == "user" and one["content"] == text for one in self.shown):
                        sent.accepted = True
                        return sent
                    await asyncio.sleep(0.1)
                # It is not there: the visitor presses "send again", which is another message.
                sent.key = str(uuid4())
                self.refused["sent again by the visitor"] += 1
            await asyncio.sleep(0.3 + 0.5 * self.chance.random())

    async def _post(self, sent: Sent) -> str:
        headers = {**self._headers, "Idempotency-Key": sent.key}
        try:
            async with self.http.post(
                f"{self._base}/v1/session/messages", json={"message": sent.text}, headers=headers
            ) as answer:
                body = await answer.json(content_type=None)
                if answer.status == 202:
                    sent.task, sent.accepted = body["task"], True
                    if body["task"] not in self.ends:
                        self.awaited.add(body["task"])
                    return "sent"
                self.refused[f"send {answer.status} {body.get('code')}"] += 1
                return str(body.get("fate", "not_sent"))
        except aiohttp.ClientConnectorError:
            self._turn_away()
            return "not_sent"
        except (aiohttp.ClientError, TimeoutError):
            self._turn_away()
            return "unknown"

    async def listen(self) -> None:
        """Keep a stream open, from the cursor on, for ever."""
        while True:
            try:
                await self._stream()
                wait = self.retry
            except (aiohttp.ClientError, TimeoutError, ConnectionError):
                self._turn_away()
                wait = 0.5 * self.chance.random()
            self.connected.clear()
            await asyncio.sleep(wait * (0.5 + self.chance.random()))

    async def _stream(self) -> None:
        headers = {**self._headers, **({"Last-Event-ID": self.cursor} if self.cursor else {})}
        params = [("task", task) for task in sorted(self.awaited)[:20]]
        timeout = aiohttp.ClientTimeout(total=None, sock_read=self.silence, sock_connect=5)
        async with self.http.get(
            f"{self._base}/v1/session/events", params=params, headers=headers, timeout=timeout
        ) as answer:
            if answer.status != 200:
                self.refused[f"stream {answer.status}"] += 1
                self.retry = float(answer.headers.get("Retry-After", 1))
                return
            self.connects += 1
            self.connected.set()
            self._ended_on_this_stream.clear()
            async for name, data, identity in self._events(answer.content):
                self._take(name, data, identity)

    async def _events(self, lines: aiohttp.StreamReader) -> AsyncIterator[tuple[str, dict[str, Any], str]]:
        name = identity = data = ""
        while raw := await lines.readline():
            line = raw.decode().rstrip("\n")
            if not line:
                if data:
                    yield name, json.loads(data), identity
                name = identity = data = ""
                continue
            key, _, value = line.partition(": ")
            match key:
                case "event":
                    name = value
                case "id":
                    identity = value
                case "data":
                    data = value
                case "retry":
                    self.retry = int(value) / 1000

    def _take(self, name: str, data: dict[str, Any], identity: str) -> None:
        if identity:
            self.cursor = identity
        task = data.get("task")
        if name == "message":
            # As the widget: a known key is nothing new, nor is a second answer to one question.
            if data["key"] in self._known or (task is not None and f"answer {task}" in self._known):
                return
            self._known |= {data["key"]} | ({f"answer {task}"} if task else set())
            self.shown.append(data)
            self.arrived.setdefault(task or data["key"], time.time())
        elif name == "done" and task is not None:
            self.awaited.discard(task)
            ends = self.ends.setdefault(task, Counter())
            self.repeated += bool(ends)
            self.repeated_on_one_stream += task in self._ended_on_this_stream
            self._ended_on_this_stream.add(task)
            ends[data["status"]] += 1
            self.arrived.setdefault(task, time.time())

    @property
    def _base(self) -> str:
        return self.urls[self.url % len(self.urls)]

    @property
    def _headers(self) -> dict[str, str]:
        return {"Origin": SHOP_ORIGIN, "Authorization": f"Bearer {self.handle}"}

    def _turn_away(self) -> None:
        self.url += 1


def client() -> aiohttp.ClientSession:
    """Connections without a bound of their own."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=20, sock_connect=5)
    )
