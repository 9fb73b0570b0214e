"""Ten thousand readers in one process, as cheap as sockets go: what was read is only counted.

python -m benchmarks.many_streams ORDERS     (a JSON on the standard input, a JSON a line on the standard output)
"""

import asyncio
import json
import resource
import sys
import time

OPENING_AT_ONCE = 100


class Reader(asyncio.Protocol):
    """One stream. `opened` and `told`: when its first event, and when the text waited for, had come."""

    wanted = b"\x00"

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.opened: float | None = None
        self.told: float | None = None
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        if self.opened is None and b"event:" in data:
            self.opened = time.monotonic()
        if self.told is None and self.wanted in data:
            self.told = time.monotonic()

    def connection_lost(self, exception: Exception | None) -> None:
        self.lost = True


async def main() -> None:
    orders = json.loads(sys.stdin.readline())
    loop = asyncio.get_running_loop()
    gate = asyncio.Semaphore(OPENING_AT_ONCE)
    readers: list[Reader] = []

    async def connect(request: str) -> None:
        async with gate:
            reader = Reader(request.encode())
            await loop.create_connection(lambda: reader, "127.0.0.1", orders["port"])
            readers.append(reader)
            while reader.opened is None and not reader.lost:
                await asyncio.sleep(0.005)

    began = time.monotonic()
    await asyncio.gather(*(connect(request) for request in orders["requests"]))
    print_line({"opened_s": time.monotonic() - began, "lost": sum(one.lost for one in readers)})
    while line := await asyncio.to_thread(sys.stdin.readline):
        # A text to wait for; then when the first and the last of all had it.
        Reader.wanted = json.loads(line)["text"].encode()
        for one in readers:
            one.told = None
        print_line({"waiting": True})
        deadline = time.monotonic() + 60
        while any(one.told is None and not one.lost for one in readers) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        told = [one.told for one in readers if one.told is not None]
        print_line({"told": len(told), "spread_s": max(told) - min(told), "lost": sum(one.lost for one in readers)})


def print_line(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(main())
