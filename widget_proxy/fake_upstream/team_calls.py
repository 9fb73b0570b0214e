"""What only the chatbot's team may do to a session, with an API key or a bearer."""

from starlette.responses import JSONResponse, Response

from widget_proxy.fake_upstream.access import Access
from widget_proxy.fake_upstream.calls import Call, Refused


class TeamCalls:
    """The endpoints under `/api/sessions/`, as far as there are any here."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def end(self, call: Call) -> Response:
        """An answer without a body. The session is kept for a review: it still takes messages."""
        self._access.team_session(call).closed = True
        return Response(status_code=200)

    async def tags(self, call: Call) -> Response:
        """Add tags, or remove them; both can be done twice. Answers with all that the session has."""
        self._access.team(call)
        names = call.object().get("tags")
        if not names:
            raise Refused(400, {"error": "Missing 'tags' in request"})
        if not isinstance(names, list):
            raise Refused(400, {"error": "'tags' must be a list"})
        if not all(isinstance(name, str) and name.strip() for name in names):
            raise Refused(400, {"error": "'tags' must be a list of non-empty strings"})
        session = self._access.team_session(call)
        left = [name for name in session.tags if name not in names]
        session.tags = left if call.http.method == "DELETE" else [*left, *dict.fromkeys(names)]
        return JSONResponse({"tags": session.tags})

    async def state(self, call: Call) -> Response:
        """Set the state: nothing of what was there stays."""
        self._access.team(call)
        state = call.object().get("state")
        if not state:
            raise Refused(400, {"error": "Missing 'state' in request"})
        if not isinstance(state, dict):
            raise Refused(400, {"error": "'state' must be an object"})
        if "page_context" in state:
            raise Refused(400, {"state": ["'page_context' is a reserved key; use the page_context parameter."]})
        session = self._access.team_session(call)
        session.state = dict(state)
        return JSONResponse({"success": True, "state": state})
