"""What `v1` takes and answers, as OpenAPI 3.1: `/openapi.json`.

Bodies are described by the models that check them, problems by the table they are made from. The rest is written
here, and the tests ask a running proxy whether it is true.
"""

import json

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from widget_proxy import __version__
from widget_proxy.openapi.calls import paths
from widget_proxy.openapi.schemas import Schema, schemas


def openapi_routes() -> list[Route]:
    """The one route. Nothing in it depends on a site or a visitor, so any page may read it."""
    content = json.dumps(describe(), ensure_ascii=False, separators=(",", ":")).encode()
    headers = {
        "Access-Control-Allow-Origin": "*",
        "Cache-Control": "public, max-age=300",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }

    async def openapi(_: Request) -> Response:
        return Response(content, headers=headers, media_type="application/json")

    return [Route("/openapi.json", openapi, methods=["GET"])]


def describe() -> Schema:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Widget proxy",
            "version": __version__,
            "description": "An embeddable chat for Open Chat Studio. Every call under `/v1/` names an `Origin` that "
            "the site allows, as browsers do by themselves. Pages for people, and the widget's files, are not here.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths(),
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "handle": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The `handle` that starting a session answered. Good for that one conversation, "
                    "for 7 days less 5 minutes.",
                },
                "metrics": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`server.metrics_token`, for who runs the proxy.",
                },
            },
        },
    }
