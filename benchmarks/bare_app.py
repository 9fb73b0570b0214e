"""The least that makes streams of this kind: an `EventSourceResponse` with its default ping, and a queue each.

    .venv/bin/python -m benchmarks.bare_app PORT

What the proxy's streams cost is compared with this: same response, same server, none of the features.
"""

import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncIterator

import uvicorn
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

channels: defaultdict[str, set[asyncio.Queue[str]]] = defaultdict(set)


async def events(request: Request) -> EventSourceResponse:
    """The stream of a channel."""
    return EventSourceResponse(_events(channels[request.path_params["channel"]]))


async def publish(request: Request) -> Response:
    """An event for all streams of a channel: the body is its data."""
    data = (await request.body()).decode()
    for queue in channels[request.path_params["channel"]]:
        queue.put_nowait(data)
    return Response(status_code=202)


async def _events(channel: set[asyncio.Queue[str]]) -> AsyncIterator[ServerSentEvent]:
    queue: asyncio.Queue[str] = asyncio.Queue()
    channel.add(queue)
    try:
        yield ServerSentEvent(retry=2000)
        while True:
            yield ServerSentEvent(await queue.get(), event="message")
    finally:
        channel.discard(queue)


app = Starlette(
    routes=[
        Route("/{channel}/events", events),
        Route("/{channel}", publish, methods=["POST"]),
    ]
)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
