"""Carries TCP from this machine's loopback elsewhere: `python -m benchmarks.relay PORT HOST PORT`.

A proxy polls as often as a benchmark needs only an upstream on its own machine.
"""

import asyncio
import sys
from contextlib import suppress


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction, until its end."""
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def serve(port: int, host: str, to: int) -> None:
    """For ever."""

    async def both(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = None
        try:
            back, there = await asyncio.open_connection(host, to)
            one = asyncio.create_task(carry(reader, there))
            await carry(back, writer)
            one.cancel()
            await asyncio.gather(one, return_exceptions=True)
        except OSError:
            pass
        finally:
            writer.transport.abort()
            if there is not None:
                there.transport.abort()

    async with await asyncio.start_server(both, "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
