"""Who is let in: embed keys and origins, session tokens, bearers. Each refusal in the words it has upstream."""

import base64
import secrets
from urllib.parse import parse_qsl, urlsplit

from starlette.responses import JSONResponse, Response

from widget_proxy.fake_upstream.calls import NOT_FOUND, Call, Refused
from widget_proxy.fake_upstream.settings import Channel, FakeUpstreamSettings
from widget_proxy.fake_upstream.state import Session, World, is_session_id


class Access:
    """The checks of one fake upstream."""

    def __init__(self, settings: FakeUpstreamSettings, world: World) -> None:
        self._settings = settings
        self._world = world

    def channel(self, call: Call, chatbot_id: str) -> Channel:
        channel = self._world.channel(chatbot_id)
        authorization = call.headers.get("authorization")
        if channel is not None and channel.mode == "oauth":
            if not self._has_bearer(call):
                raise _denied()
            return channel
        if channel is not None and channel.mode == "api_key":
            self._check_api_key(call)
            return channel
        if authorization is not None:
            raise _denied()
        key = call.headers.get("x-embed-key")
        if key is None:
            return self._world.keyless  # let in, on another channel: a client must not do this by mistake
        if channel is None or key != channel.embed_key:
            raise Refused(401, {"detail": "Invalid widget embed key"})
        self._check_origin(call, channel)
        return channel

    def team(self, call: Call) -> None:
        """Let in whoever acts for the team: with the API key, or with a bearer."""
        if not self._has_bearer(call):
            self._check_api_key(call)

    def team_session(self, call: Call) -> Session:
        """The session that whoever acts for the team names."""
        self.team(call)
        session = self._world.sessions.get(call.session_id or "")
        if session is None:
            raise Refused(404, {"error": f"Session not found: {call.session_id}"})
        return session

    def _has_bearer(self, call: Call) -> bool:
        token = call.headers.get("authorization", "").removeprefix("Bearer ")
        return self._world.bearers.get(token, 0) > self._settings.clock()

    def _check_api_key(self, call: Call) -> None:
        given = call.headers.get("x-api-key") or call.headers.get("authorization", "").removeprefix("Bearer ")
        if given != self._settings.api_key:
            raise Refused(401, {"detail": "Authentication credentials were not provided."})

    def _check_origin(self, call: Call, channel: Channel) -> None:
        source = call.headers.get("origin") or call.headers.get("referer")
        if not source:
            raise Refused(403, {"detail": "Origin or Referer header required for embedded widgets"})
        if not channel.allows(urlsplit(source).hostname):
            raise Refused(403, {"detail": "Origin not allowed"})

    def session(self, call: Call) -> Session:
        if call.session_id is None or not is_session_id(call.session_id):
            raise Refused(404, NOT_FOUND)
        session = self._world.sessions.get(call.session_id)
        if session is None:
            raise Refused(403, {"detail": "Session does not exist"})
        key, token = call.headers.get("x-embed-key"), call.headers.get("x-session-token")
        if session.token is None and (session.channel is self._world.keyless or session.channel.mode == "open"):
            return session
        if session.channel.mode == "api_key":
            self._check_api_key(call)
            return session
        if session.token is None or key is not None:
            # Older channels; and a key sent beside a token brings its check back.
            if key != session.channel.embed_key:
                raise Refused(401, {"detail": "Invalid widget embed key"})
            self._check_origin(call, session.channel)
        if session.token is not None:
            if token is None:
                raise Refused(403, {"error": "A session token is required.", "code": "session_token_required"})
            if token != session.token:
                raise Refused(403, {"error": "The session token is invalid.", "code": "session_token_invalid"})
            if session.expired or self._settings.clock() - session.started > session.channel.token_seconds:
                raise Refused(403, {"error": "The session has expired.", "code": "session_expired"})
        return session

    async def token(self, call: Call) -> Response:
        form = dict(parse_qsl(call.raw.decode("latin-1")))
        basic = call.headers.get("authorization", "").removeprefix("Basic ")
        given = (form.get("client_id"), form.get("client_secret"))
        if basic and given == (None, None):
            name, _, secret = base64.b64decode(basic + "==").decode("latin-1").partition(":")
            given = (name, secret)
        if form.get("grant_type") != "client_credentials":
            raise Refused(400, {"error": "unsupported_grant_type"})
        if given != (self._settings.oauth_client_id, self._settings.oauth_client_secret):
            raise Refused(401, {"error": "invalid_client"})
        token, seconds = "fake-bearer-" + secrets.token_hex(16), self._settings.bearer_seconds
        self._world.bearers[token] = self._settings.clock() + seconds
        return JSONResponse(
            {"access_token": token, "expires_in": seconds, "token_type": "Bearer", "scope": form.get("scope", "")}
        )


def _denied() -> Refused:
    return Refused(401, {"detail": "This chatbot does not take these credentials.", "code": "chat_access_denied"})
