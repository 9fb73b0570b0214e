"""What operators and their programs ask: is it alive, can it serve, how is it doing.

Probes are for everybody, and tell nothing that a visitor could not find out. Figures are for who has
`server.metrics_token`; without one they are not there at all.
"""

import json
import secrets
import time
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from widget_proxy import __version__
from widget_proxy.config import ServerSettings
from widget_proxy.metrics import CONTENT_TYPE, Metrics
from widget_proxy.observing import Observer
from widget_proxy.problems import Problem
from widget_proxy.readiness import reasons_against

_NO_STORE = {"Cache-Control": "no-store"}


class Monitoring:
    """`/healthz`, `/readyz`, and with a token `/metrics` and `/status.json`. `now`: Unix time."""

    def __init__(
        self, server: ServerSettings, metrics: Metrics, observer: Observer, now: Callable[[], float] = time.time
    ) -> None:
        self._token = None if server.metrics_token is None else server.metrics_token.get_secret_value()
        self._metrics = metrics
        self._observer = observer
        self._now = now

    def routes(self) -> list[Route]:
        """Those there are."""
        routes = [
            Route("/healthz", self.healthz, methods=["GET"]),
            Route("/readyz", self.readyz, methods=["GET"]),
        ]
        if self._token is not None:
            routes += [
                Route("/metrics", self.metrics, methods=["GET"]),
                Route("/status.json", self.status, methods=["GET"]),
            ]
        return routes

    async def healthz(self, request: Request) -> Response:
        """Alive: the process answers. Nothing else is asked."""
        return JSONResponse({"status": "ok", "version": __version__}, headers=_NO_STORE)

    async def readyz(self, request: Request) -> Response:
        """Whether visitors should be sent here, and why not. From what was seen last: nothing is asked."""
        reasons = self._reasons()
        told = {"status": "unready" if reasons else "ready", "reasons": reasons}
        return JSONResponse(told, 503 if reasons else 200, _NO_STORE)

    async def metrics(self, request: Request) -> Response:
        """As Prometheus reads them."""
        self._check(request)
        return Response(self._metrics.exposition(), headers={**_NO_STORE, "Content-Type": CONTENT_TYPE})

    async def status(self, request: Request) -> Response:
        """The same for the status page: `samples`, by name, are `[labels, value]` each."""
        self._check(request)
        samples: dict[str, list[Any]] = {}
        for metric in self._metrics.collect():
            for sample in metric.samples:
                samples.setdefault(sample.name, []).append([sample.labels, sample.value])
        told = {
            "version": __version__,
            "now": self._now(),
            "reasons": self._reasons(),
            "samples": samples,
        }
        return Response(json.dumps(told), headers=_NO_STORE, media_type="application/json")

    def _reasons(self) -> list[str]:
        observer = self._observer
        return reasons_against(
            draining=observer.draining,
            broker_answers=observer.broker_answers,
            full=observer.full,
            upstreams=[watch.last_word for watch in observer.upstreams],
            now=self._now(),
        )

    def _check(self, request: Request) -> None:
        """Raises `Problem` for who has not the token."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        known = (self._token or "").encode()
        if scheme.lower() != "bearer" or not known or not secrets.compare_digest(token.strip().encode(), known):
            raise Problem(
                "token_invalid",
                "Send server.metrics_token, as Authorization: Bearer <token>.",
                headers={"WWW-Authenticate": "Bearer"},
            )
