"""A TCP proxy before a real server that harms requests, by a seed.

It reads no HTTP: a request begins when the client sends after the server has spoken, so that each
request on a kept connection takes its own chance.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from urllib.parse import urlsplit

from tests.servers.faults import UNHARMED, Harm, draw_harm, reset_on_close
from tests.servers.listener import Listener

BLOCK = 64 * 1024
PATIENCE = 30.0
"""Seconds that a stall lasts at most."""


class Proxy:
    """Passes what comes to ``endpoint`` on to ``target``."""

    def __init__(self, target: str, *, probability: float, seed: int, stalls: float = 0.05) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._chance = random.Random(seed)
        self.probability = probability
        self._stalls = stalls
        self.harms: Counter[str] = Counter()
        """How often each kind was drawn."""
        self.strikes = 0
        """How often harm was done: a short request may end before it is reached."""

    def __enter__(self) -> Proxy:
        self._listener = Listener(self._pass)
        self.endpoint = self._listener.endpoint
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.stop()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        tunnel = _Tunnel(self, writer)
        ways = [
            asyncio.ensure_future(tunnel.pump(reader, up_writer, upwards=True)),
            asyncio.ensure_future(tunnel.pump(up_reader, writer, upwards=False)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            up_writer.transport.abort()
            writer.transport.abort()

    def next_harm(self) -> Harm:
        """Draws for the next request."""
        harm = draw_harm(self._chance, self.probability, self._stalls)
        self.harms[harm.kind] += 1
        return harm


class _Tunnel:
    """One connection."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = client
        self._answered = True
        self._harm = UNHARMED
        self._passed = {True: 0, False: 0}

    async def pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upwards: bool
    ) -> None:
        """One direction, until its end or the harm."""
        while data := await reader.read(BLOCK):
            if upwards and self._answered:
                self._answered = False
                self._harm = self._proxy.next_harm()
                self._passed = {True: 0, False: 0}
            elif not upwards:
                self._answered = True
            harm = self._harm
            strikes = harm.kind != "ok" and harm.upwards == upwards
            left = harm.after - self._passed[upwards]
            if strikes and len(data) > left:
                writer.write(data[: max(0, left)])
                await writer.drain()
                self._proxy.strikes += 1
                await self._strike(harm)
                return
            self._passed[upwards] += len(data)
            writer.write(data)
            await writer.drain()

    async def _strike(self, harm: Harm) -> None:
        if harm.kind == "stall":
            await asyncio.sleep(PATIENCE)
        elif harm.kind == "reset":
            reset_on_close(self._client.get_extra_info("socket"))
        else:
            with contextlib.suppress(OSError):
                self._client.write_eof()
            await asyncio.sleep(0.05)
