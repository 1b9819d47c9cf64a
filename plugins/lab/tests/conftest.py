"""The stand-ins, and the official client that they must satisfy."""

from __future__ import annotations

import io
import math
import struct
import wave
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import spark_core_lab
from openai import AsyncOpenAI
from spark_core_lab.running import Lab
from spark_core_lab.server import StandIn

RATE = 16_000


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """All four, each on a free port."""
    async with spark_core_lab.start(metrics_lag=0) as lab:
        yield lab


@pytest.fixture
async def openai(lab: Lab) -> AsyncIterator[Callable[[StandIn], AsyncOpenAI]]:
    """Makes a client of a stand-in, which does not try twice."""
    made: list[AsyncOpenAI] = []

    def client(of: StandIn) -> AsyncOpenAI:
        made.append(AsyncOpenAI(base_url=f"{of.url}/v1", api_key="none", max_retries=0))
        return made[-1]

    yield client
    for each in made:
        await each.close()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A plain client that waits for at most half a minute."""
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
def recording() -> Callable[..., bytes]:
    """Makes a WAV file of tones, ``(hertz, seconds)`` each; 0 hertz is silence."""

    def make(*tones: tuple[float, float], width: int = 2, channels: int = 1) -> bytes:
        values = [
            math.sin(2 * math.pi * hertz * n / RATE) * 0.3 if hertz else 0.0
            for hertz, seconds in tones
            for n in range(int(RATE * seconds))
        ]
        file = io.BytesIO()
        with wave.open(file, "wb") as out:
            out.setparams((channels, width, RATE, 0, "NONE", ""))
            out.writeframes(b"".join(_sample(value, width) * channels for value in values))
        return file.getvalue()

    return make


def _sample(value: float, width: int) -> bytes:
    if width == 1:
        return bytes([int(value * 127) + 128])
    return struct.pack("<i", int(value * 0x7FFFFFFF))[4 - width :]
