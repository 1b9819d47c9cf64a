"""An embeddings server of a fixed speed, for measuring what stands before it.

::

    python tests/benchmarks/embedding_server.py TEXTS_PER_SECOND LANES

It prints its port and answers ``POST /v1/embeddings`` with vectors of 384 numbers, ready made:
its own work is next to nothing, so that it is as fast as it is told to be. A request of n texts
keeps one of its lanes, which share the speed, for as long as n texts take.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import random
import sys
from asyncio import StreamReader, StreamWriter

DIMENSION = 384


class EmbeddingServer:
    def __init__(self, rate: float, lanes: int) -> None:
        self._seconds_per_text = lanes / rate
        self._free = [0.0] * lanes
        chance = random.Random(5)
        numbers = ([round(chance.gauss(0, 0.05), 7) for _ in range(DIMENSION)] for _ in range(97))
        self._vectors = list(map(json.dumps, numbers))

    async def talk(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Answer the requests of one connection until it is closed."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
                texts = json.loads(await reader.readexactly(length))["input"]
                await self._work(len(texts))
                writer.write(self._answer(len(texts)))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _work(self, texts: int) -> None:
        """Take the lane that is free first, and wait until its turn is over."""
        now = asyncio.get_running_loop().time()
        done = max(now, self._free[0]) + texts * self._seconds_per_text
        heapq.heapreplace(self._free, done)
        await asyncio.sleep(done - now)

    def _answer(self, count: int) -> bytes:
        vectors = (self._vectors[n % len(self._vectors)] for n in range(count))
        items = ",".join(f'{{"index":{n},"embedding":{v}}}' for n, v in enumerate(vectors))
        body = f'{{"data":[{items}]}}'.encode()
        head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
        return f"{head}{len(body)}\r\n\r\n".encode() + body


async def main(rate: float, lanes: int) -> None:
    server = await asyncio.start_server(EmbeddingServer(rate, lanes).talk, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), int(sys.argv[2])))
