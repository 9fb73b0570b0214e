"""One request on its way through the fake, and the error answers it may get."""

import json
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, JSONResponse, Response

NOT_FOUND = "<!doctype html><title>Not Found</title><h1>Not Found</h1><p>The requested resource was not found.</p>"
CRASH = "<!doctype html><title>Server Error</title><h1>Server Error (500)</h1>"


class Refused(Exception):
    """An error answer: JSON for a `dict`, a page for a text."""

    def __init__(self, status: int, body: dict[str, Any] | str) -> None:
        self.response: Response = HTMLResponse(body, status) if isinstance(body, str) else JSONResponse(body, status)
        super().__init__(status)


class Call:
    """One request on its way through the fake."""

    def __init__(self, http: HttpRequest, raw: bytes, kind: str) -> None:
        self.http = http
        self.kind = kind
        self.raw = raw
        self.headers = {name.lower(): value for name, value in http.headers.items()}
        self.session_id: str | None = http.path_params.get("session")
        self.task_id: str | None = http.path_params.get("task")
        self.body: Any = None
        if "json" in self.headers.get("content-type", ""):
            try:
                self.body = json.loads(raw)
            except ValueError:
                self.body = None

    def object(self) -> dict[str, Any]:
        """The JSON body; upstream's framework answers this way to anything else."""
        if "json" not in self.headers.get("content-type", ""):
            raise Refused(
                415, {"detail": f'Unsupported media type "{self.headers.get("content-type", "")}" in request.'}
            )
        if not isinstance(self.body, dict):
            raise Refused(400, {"detail": "JSON parse error - Expecting value: line 1 column 1 (char 0)"})
        return self.body
