"""The fake S3 that tests script: it plays a word of the script for each request."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import NamedTuple

from tests.servers.faults import Injector, Storm, steps
from tests.servers.listener import Listener
from tests.servers.s3_server import S3Server

from .messages import KINDS, Answer, Request, S3Error, error_answer, parse, refusal, render
from .peer import PATIENCE, Peer, Reset
from .service import CRC, LEAST_PART, Service, damaged
from .storage import Bucket, Object, Upload, crc_text, difference

Steps = Mapping[str, float | None]


class Seen(NamedTuple):
    """One request."""

    kind: str
    key: str
    """The bucket's name where the request is for the bucket."""
    part: int
    attempt: int
    """From 0, counted for the same kind, key and part."""
    word: str
    """What was done wrong."""
    at: float
    """Of time.monotonic()."""


class FakeS3(S3Server):
    """An S3 server in a thread; a test scripts it by calls and reads its state as attributes.

    The client under test is another process, or gevent in the test's own thread.

        with FakeS3(buckets=["b"]) as server:
            server.script("put", "a.txt", "503 reset@64K ok")
            server.script("part", "large/*", "lost...")
            server.blow(Storm(probability=0.3, seed=1))
    """

    def __init__(
        self,
        *,
        mode: str = "new",
        buckets: Sequence[str] = (),
        least_part: int = LEAST_PART,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        super().__init__()
        self._address = (host, port)
        self.service = Service(mode, buckets, least_part)
        self.service.users[self.access_key] = self.secret_key
        self.hook: Callable[[str, Seen], None] | None = None
        """Called with "before" when a request has arrived and "after" when its work is done and not
        yet answered; in the server's thread, which waits for it."""
        self.seen: list[Seen] = []
        self.requests: Counter[tuple[str, str]] = Counter()
        """(kind, key) -> how often it was asked."""
        self.in_flight = 0
        self._injector = Injector(KINDS)

    def script(self, kind: str, key: str, words: str) -> None:
        """Says what happens to such requests; see tests.servers.faults."""
        self._injector.script(kind, key, words)

    def blow(self, storm: Storm) -> None:
        """Lets the storm decide about requests that no script speaks of."""
        self._injector.storm = storm

    @property
    def stored(self) -> Counter[str]:
        """Key -> how often an object was stored there."""
        return self.service.stored

    @property
    def buckets(self) -> dict[str, Bucket]:
        return self.service.buckets

    def objects(self, bucket: str) -> dict[str, Object]:
        """All objects of a bucket; none when there is no such bucket."""
        return self.buckets.get(bucket, Bucket()).objects

    def open_uploads(self, bucket: str) -> list[Upload]:
        """The multipart uploads that were begun and neither completed nor aborted."""
        return list(self.buckets.get(bucket, Bucket()).uploads.values())

    def wrong(self, bucket: str, root: str | Path, prefix: str = "") -> dict[str, str]:
        """Key -> how the object differs from the file below ``root``.

        Files that have no object are not wrong.
        """
        found = {}
        for key, stored in self.objects(bucket).items():
            problem = difference(stored, os.path.join(root, key.removeprefix(prefix)))
            if problem:
                found[key] = problem
        return found

    def peers(self) -> set[object]:
        """The addresses of those who are connected."""
        return self._listener.peers()

    def _start(self, directory: Path, cleanup: contextlib.ExitStack) -> None:
        self._listener = Listener(self._talk, *self._address)
        cleanup.callback(self._listener.stop)
        self.endpoint = self._listener.endpoint

    def __exit__(self, *failure: object) -> None:
        super().__exit__(*failure)
        if failure[0] is None and self._listener.errors:
            raise self._listener.errors[0]

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        try:
            while await self._exchange(peer):
                pass
        except Reset:
            peer.reset()

    async def _exchange(self, peer: Peer) -> bool:
        """One request and its answer; false when nothing more can follow."""
        request = parse(await peer.head())
        identity = (request.kind, request.key, request.part)
        seen = Seen(*identity, *self._injector.next(*identity), time.monotonic())
        self.seen.append(seen)
        self.requests[request.kind, request.key] += 1
        self.in_flight += 1
        try:
            goes_on = await self._play(request, seen, peer)
        finally:
            self.in_flight -= 1
        # A proxy that keeps no connections relies on it.
        return goes_on and request.headers.get("connection", "").lower() != "close"

    async def _play(self, request: Request, seen: Seen, peer: Peer) -> bool:
        """The steps of a request's word, in the order in which they happen."""
        word = steps(seen.word)
        if "delay" in word:
            await asyncio.sleep(word["delay"] or 0)
        for name in word:
            if name.startswith("early"):
                early = refusal(request, int(name[5:]), None)
                await peer.send(render(early, request.method == "HEAD"))
                await peer.linger()
                return False
        if "reset" in word:
            await peer.read(min(int(word["reset"] or 0), request.length))
            raise Reset
        if "stall" in word:
            await asyncio.sleep(PATIENCE)
            raise Reset
        if request.headers.get("expect"):
            await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await peer.read(request.length)
        if "noanswer" in word:
            await peer.wait_for_end()
            return False
        if "hangup" in word:
            return False
        if "garbage" in word:
            await peer.send(b"\x16\x03\x01\x02\x00SSH-2.0-not HTTP at all\r\n\r\n")
            return False
        if "blank" in word:
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return True
        answer = _in_place_of_work(request, word, seen.attempt)
        if answer is None:
            answer = _falsified(self._work(request, body, seen, word), word)
        return await self._send(peer, answer, word, request.method == "HEAD")

    def _work(self, request: Request, body: bytes, seen: Seen, word: Steps) -> Answer:
        if "corrupt" in word:
            body = damaged(body)
        if self.hook:
            self.hook("before", seen)
        answer = self.service.answer(request, body, rots="rot" in word)
        if self.hook:
            self.hook("after", seen)
        return answer

    async def _send(self, peer: Peer, answer: Answer, word: Steps, head_only: bool) -> bool:
        if "lost" in word:
            raise Reset
        if "mute" in word:
            await peer.wait_for_end()
            return False
        if "close" in word:
            answer = answer._replace(headers={**answer.headers, "Connection": "close"})
        data = render(answer, head_only, self.service.clock_offset)
        if "continue" in word:
            data = b"HTTP/1.1 100 Continue\r\n\r\n" + data
        if "truncated" in word:
            data = data[: len(data) // 2]
        if "extra" in word:
            data += render(Answer(408, {"Connection": "close"}), head_only=False)
        if "dripping" in word:
            for byte in data:
                await peer.send(bytes([byte]))
                await asyncio.sleep(word["dripping"] or 0)
        else:
            await peer.send(data)
        return not word.keys() & {"close", "fin", "truncated", "extra"}


def _in_place_of_work(request: Request, word: Steps, attempt: int) -> Answer | None:
    """The answer that stands in the script; None when the work is to be done."""
    for name, value in word.items():
        if name.isdigit():
            return refusal(request, int(name), value)
    if "slowdown" in word:
        return error_answer(S3Error(503, "SlowDown"))
    if "expired" in word:
        return error_answer(S3Error(400, "ExpiredToken"))
    if "error200" in word:
        return error_answer(S3Error(200, "InternalError"))
    if "skew" in word:
        date = formatdate(time.time() + 3600 * (attempt + 1), usegmt=True)
        return error_answer(S3Error(403, "RequestTimeTooSkewed"), Date=date)
    return None


def _falsified(answer: Answer, word: Steps) -> Answer:
    """The answer with another ETag or checksum, in the header or in the XML."""
    headers, body = dict(answer.headers), answer.body
    if "wrong-etag" in word and answer.status == 200:
        headers.update({"ETag": f'"{"0" * 32}"'} if "ETag" in headers else {})
        body = re.sub(rb"<ETag>.*</ETag>", b"<ETag>&quot;0000-1&quot;</ETag>", body)
    if "wrong-checksum" in word and answer.status == 200:
        headers.update({CRC: crc_text(0x1234)} if CRC in headers else {})
        element = rb"\g<1>%b\2" % crc_text(0x1234).encode()
        body = re.sub(rb"(<ChecksumCRC64NVME>).*(</Ch)", element, body)
    return answer._replace(headers=headers, body=body)
