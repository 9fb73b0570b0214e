"""What tests order and ask, under `/_fake/`. Nothing of it exists upstream."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from widget_proxy.fake_upstream.api import ChatApi
from widget_proxy.fake_upstream.faults import Fault
from widget_proxy.fake_upstream.state import Plan, Session


class Control:
    """Orders to, and questions about, one fake upstream."""

    def __init__(self, api: ChatApi) -> None:
        self._api = api

    def routes(self) -> list[Route]:
        """Every route under `/_fake/`."""
        return [
            Route("/_fake/requests", self.requests, methods=["GET", "DELETE"]),
            Route("/_fake/counts", self.counts, methods=["GET"]),
            Route("/_fake/answers", self.answers, methods=["POST"]),
            Route("/_fake/answered", self.answered, methods=["GET"]),
            Route("/_fake/faults", self.faults, methods=["POST", "DELETE"]),
            Route("/_fake/sessions", self.sessions, methods=["GET"]),
            Route("/_fake/sessions/{session}/messages", self.messages, methods=["GET"]),
            Route("/_fake/say", self.say, methods=["POST"]),
            Route("/_fake/attach", self.attach, methods=["POST"]),
            Route("/_fake/end", self.end, methods=["POST"]),
            Route("/_fake/expire", self.expire, methods=["POST"]),
            Route("/_fake/channel", self.channel, methods=["POST"]),
            Route("/_fake/bearers", self.bearers, methods=["DELETE"]),
            Route("/_fake/secrets", self.secrets, methods=["POST"]),
            Route("/_fake/limits", self.limits, methods=["DELETE"]),
            Route("/_fake/reset", self.reset, methods=["POST"]),
        ]

    async def requests(self, request: Request) -> Response:
        """All requests of the Chat API so far; DELETE forgets them."""
        if request.method == "DELETE":
            self._api.ledger.clear()
            return Response(status_code=204)
        return JSONResponse(self._api.ledger.json())

    async def counts(self, request: Request) -> Response:
        """Requests by kind, in all and by session."""
        ledger = self._api.ledger
        by_session = {session: dict(counts) for session, counts in ledger.by_session.items()}
        return JSONResponse({"kinds": dict(ledger.counts), "sessions": by_session})

    async def answers(self, request: Request) -> Response:
        """Order the next answer: `{text, delay?, progress?: [[after, text]], outcome?, session?}`."""
        order: dict[str, Any] = await request.json()
        self._api.world.plans.append(
            Plan(
                text=order.get("text", ""),
                delay=float(order.get("delay", self._api.settings.think_seconds)),
                progress=[(float(after), str(text)) for after, text in order.get("progress", [])],
                outcome=order.get("outcome", "reply"),
                session=order.get("session"),
            )
        )
        return Response(status_code=204)

    async def answered(self, request: Request) -> Response:
        """Each task, and when its answer is or was ready: `[{session, task, ready_at}]`."""
        tasks = [task for session in self._api.world.sessions.values() for task in session.tasks.values()]
        return JSONResponse([{"session": one.session_id, "task": one.id, "ready_at": one.ready} for one in tasks])

    async def faults(self, request: Request) -> Response:
        """Order a fault (see `Fault`); DELETE clears them all."""
        if request.method == "DELETE":
            self._api.faults.ordered.clear()
        else:
            self._api.faults.ordered.append(Fault(**await request.json()))
        return Response(status_code=204)

    async def sessions(self, request: Request) -> Response:
        """Every session, oldest first."""
        return JSONResponse(
            [
                {
                    "id": session.id,
                    "channel": session.channel.name,
                    "state": session.state,
                    "start_body": session.start_body,
                    "start_headers": session.start_headers,
                    "token": session.token,
                    "tags": session.tags,
                    "closed": session.closed,
                }
                for session in self._api.world.sessions.values()
            ]
        )

    async def messages(self, request: Request) -> Response:
        """A session's stored messages, those not yet visible too."""
        session = self._api.world.sessions[request.path_params["session"]]
        return JSONResponse([row.json() for row in sorted(session.rows, key=lambda row: row.created)])

    async def say(self, request: Request) -> Response:
        """A message of the bot's own: `{session, text, created_at?: seconds}`."""
        order = await request.json()
        self._api.world.say(self._session(order), order["text"], order.get("created_at"))
        return Response(status_code=204)

    async def attach(self, request: Request) -> Response:
        """A message of the bot's own with a file: `{session, text, name, size, content_type}`; the file's id."""
        order = await request.json()
        session, world = self._session(order), self._api.world
        file = world.store_file(session, order["name"], order["size"], order["content_type"])
        world.say(session, order["text"], files=[file.id])
        return JSONResponse({"id": file.id})

    async def end(self, request: Request) -> Response:
        """End a session: `{session}`."""
        self._session(await request.json()).ended_at = self._api.settings.clock()
        return Response(status_code=204)

    async def expire(self, request: Request) -> Response:
        """Let a session's token expire: `{session}`."""
        self._session(await request.json()).expired = True
        return Response(status_code=204)

    async def channel(self, request: Request) -> Response:
        """Switch the first channel on or off: `{enabled, text?}`."""
        order = await request.json()
        channel = self._api.settings.channels[0]
        channel.enabled = order["enabled"]
        channel.disabled_text = order.get("text", channel.disabled_text)
        return Response(status_code=204)

    async def bearers(self, request: Request) -> Response:
        """Revoke every access token."""
        self._api.world.bearers.clear()
        return Response(status_code=204)

    async def secrets(self, request: Request) -> Response:
        """Change what is accepted: `{embed_key?, api_key?, oauth_client_secret?}`."""
        order = await request.json()
        settings = self._api.settings
        settings.channels[0].embed_key = order.get("embed_key", settings.channels[0].embed_key)
        settings.api_key = order.get("api_key", settings.api_key)
        settings.oauth_client_secret = order.get("oauth_client_secret", settings.oauth_client_secret)
        return Response(status_code=204)

    async def limits(self, request: Request) -> Response:
        """Forget what was counted against the limits."""
        self._api.reset_limits()
        return Response(status_code=204)

    async def reset(self, request: Request) -> Response:
        """As new."""
        self._api.reset()
        return Response(status_code=204)

    def _session(self, order: dict[str, Any]) -> Session:
        return self._api.world.sessions[order["session"]]
