"""An S3 server that does wrong what it is told to do wrong, and remembers what it was given.

It runs in a thread of the test's process: a test scripts it by calls and reads its state as plain
attributes.  The client under test is another process, or gevent in the test's own thread.

    with FakeS3(buckets=["b"]) as server:
        server.script("put", "a.txt", "503 reset@64K ok")
        server.script("part", "large/*", "lost...")
        server.storm = Storm(probability=0.3, seed=1)

A script has one word for each attempt of that request on that key (of each part, for parts); after
its end all goes well.  A last word that ends in ``...`` stands for all further attempts as well.
A word is made of steps, joined by commas:

    ok                    nothing wrong
    delay:S               waits S seconds; ``delay:0.5,401`` refuses late
    400 503 429@2         that status, with S3's code and (after @) Retry-After; nothing is done
    slowdown expired      503 SlowDown, 400 ExpiredToken
    skew                  403 RequestTimeTooSkewed, with a Date an hour ahead, one more each time
    early503              that status before the body is read, then the end of the connection
    reset@64K             reset after so many bytes of the body (of a shorter one after all of it;
                          without @ after none)
    stall                 does not read the body, says nothing
    noanswer hangup       reads the body, does nothing: says nothing; closes
    garbage blank         the same, answered by what is no HTTP; by 200 without ETag or body
    error200              the same, answered by 200 with an <Error> inside
    lost mute             the work is done: reset before the answer; no answer
    truncated             the work is done: half of the answer, then the end of the connection
    dripping:S            the work is done: the answer byte by byte, S seconds (none without)
                          between them
    close fin extra       the work is done and answered: with Connection: close; closed without a
                          word; with a 408 that nobody asked for behind the answer, and closed
    continue              100 Continue before the answer
    wrong-etag            the work is done, the answer names another ETag
    wrong-checksum        the work is done, the answer echoes another checksum
    corrupt               one bit of the body changes on its way, before anything is checked
    rot                   one bit changes after the checks, and the answer is about what is stored

Modes (``server.mode``): ``new`` checks and echoes x-amz-checksum-crc64nvme; ``old`` does not know
it, its ETag is the MD5; ``refusing`` is ``old``, and refuses what it does not know; ``kms`` does
not know it either, and says that it encrypts.  Only in ``old`` and ``refusing`` is the ETag an MD5,
so that nobody relies on it elsewhere.  Content-MD5 is checked in all.
"""

from __future__ import annotations

import asyncio
import base64
import calendar
import contextlib
import fnmatch
import hashlib
import hmac
import http
import itertools
import os
import random
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from awscrt.checksums import combine_crc64nvme, crc64nvme

from tests.servers.s3_server import S3Server

KIB, MIB = 2**10, 2**20
PATIENCE = 30.0
"""Seconds after which a silent server gives up too."""
LINGER = 0.3
"""Seconds that the end of an early answer waits, so that the answer is not lost by it."""
KEPT = MIB
"""Objects up to this size are kept as bytes; of larger ones only what proves them."""
LEAST_PART = 5 * MIB
"""S3's own limit, for all parts but the last."""
NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
CRC = "x-amz-checksum-crc64nvme"

ON_KEY = ("put", "create", "part", "complete", "abort", "list_parts", "head", "get", "delete")
ON_BUCKET = ("head_bucket", "create_bucket", "list", "list_uploads")
KINDS = (*ON_KEY, *ON_BUCKET)

_WORD = re.compile(r"(early\d{3}|\d{3}|[a-z]+(?:-[a-z]+)?(?:200)?)(?:[@:](\d+(?:\.\d+)?)([KM]?))?")
_NAMES = {
    *("ok", "delay", "slowdown", "expired", "skew", "reset", "stall", "noanswer", "hangup"),
    *("garbage", "blank", "error200", "lost", "mute", "truncated", "dripping", "close", "fin"),
    *("extra", "continue", "wrong-etag", "wrong-checksum", "corrupt", "rot"),
}
_CODES = {
    400: "InvalidRequest",
    403: "AccessDenied",
    404: "NoSuchKey",
    408: "RequestTimeout",
    409: "OperationAborted",
    413: "EntityTooLarge",
    429: "TooManyRequests",
    500: "InternalError",
    501: "NotImplemented",
    503: "ServiceUnavailable",
    507: "InsufficientStorage",
}
"""Others are answered as proxies do it, with a page of HTML."""

STORM = (
    *("500", "502", "504", "408", "reset", "reset@1K", "reset@3M", "hangup", "fin", "close"),
    *(
        "lost",
        "truncated",
        "garbage",
        "blank",
        "error200",
        "wrong-checksum",
        "corrupt",
        "rot",
        "early500",
    ),
    *("delay:0.1", "continue", "extra", "dripping"),
)
"""Faults that pass, and cost little time."""
REFUSALS = ("503", "slowdown", "429", "early503")
"""Faults that ask for fewer requests."""
SILENCES = ("stall", "noanswer", "mute")
"""Faults that cost the client its time limit."""


_SMALL_PARTS = """\
import importlib.machinery, sys

class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "providers.s3.cloud":
            return None
        spec = super().find_spec(name, path, target)
        load = spec.loader.exec_module
        def exec_module(module):
            load(module)
            cloud = module.S3Cloud
            cloud.parts = cloud.parts._replace(threshold=2 * module.MIB, part_size=module.MIB)
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder)
"""


def small_parts(directory: Path) -> dict[str, str]:
    """Environment for the command that makes it send files above 2 MiB in parts of 1 MiB, to a
    server with ``least_part=MIB``: hundreds of multipart uploads would take minutes otherwise.

    The interpreter imports what lies in ``directory`` when it starts.
    """
    (directory / "sitecustomize.py").write_text(_SMALL_PARTS)
    return {"PYTHONPATH": str(directory)}


class Step(NamedTuple):
    """One step of a word."""

    name: str
    value: float | None


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


class Piece(NamedTuple):
    """The content of an object that came in one request, or of a part."""

    size: int
    sha256: bytes
    crc: int
    etag: str


@dataclass
class Object:
    """What is stored under a key."""

    pieces: Sequence[Piece]
    etag: str
    headers: Mapping[str, str]
    """Of the request that began it: content-type and x-amz-meta-*."""
    access_key: str
    signature: str
    content: bytes | None
    """None when it is large, or came in parts."""

    @property
    def size(self) -> int:
        return sum(piece.size for piece in self.pieces)

    @property
    def crc(self) -> int:
        whole = 0
        for piece in self.pieces:
            whole = combine_crc64nvme(whole, piece.crc, piece.size)
        return whole


@dataclass
class Upload:
    """A multipart upload that is open."""

    key: str
    headers: Mapping[str, str]
    parts: dict[int, Piece] = field(default_factory=dict)


@dataclass
class Bucket:
    objects: dict[str, Object] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)


class Storm(NamedTuple):
    """Each request fails with this probability, in a way that only depends on the seed and on what
    is asked for the how-manieth time."""

    probability: float
    seed: int
    words: Sequence[str] = STORM
    kinds: Sequence[str] = KINDS

    def word(self, kind: str, key: str, part: int, attempt: int) -> str:
        """What happens to this attempt."""
        if kind not in self.kinds:
            return "ok"
        chance = random.Random(f"{self.seed}/{kind}/{key}/{part}/{attempt}")
        return chance.choice(self.words) if chance.random() < self.probability else "ok"


class S3Error(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, code: str, message: str = "scripted or deserved") -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message


class _Answer(NamedTuple):
    status: int = 200
    headers: Mapping[str, str] = {}
    body: bytes = b""


class _Request(NamedTuple):
    method: str
    path: str
    """As sent: it is signed like this."""
    query: Sequence[tuple[str, str]]
    """Encoded, as sent."""
    headers: Mapping[str, str]
    kind: str
    bucket: str
    key: str
    part: int

    @property
    def length(self) -> int:
        return int(self.headers.get("content-length", 0))

    def parameter(self, name: str, default: str = "") -> str:
        return _decoded(dict(self.query).get(name, default))


class _Script(NamedTuple):
    words: Sequence[str]
    endless: bool
    """The last word stands for all attempts that follow."""

    def word(self, attempt: int) -> str:
        if attempt < len(self.words):
            return self.words[attempt]
        return self.words[-1] if self.endless else "ok"


class FakeS3(S3Server):
    """See the module."""

    def __init__(
        self, *, mode: str = "new", buckets: Sequence[str] = (), least_part: int = LEAST_PART
    ) -> None:
        super().__init__()
        self.mode = mode
        self.least_part = least_part
        self.users = {self.access_key: self.secret_key}
        """Access key -> secret key."""
        self.expired: set[str] = set()
        """Access keys that were good once: ExpiredToken."""
        self.clock_offset = 0.0
        """Seconds that the server's clock is ahead."""
        self.longest_skew: float | None = None
        """Seconds that a request's date may be off; None: not looked at."""
        self.storm: Storm | None = None
        self.hook: Callable[[str, Seen], None] | None = None
        """Called with "before" when a request has arrived and "after" when its work is done and not
        yet answered; in the server's thread, which waits for it."""
        self.buckets: dict[str, Bucket] = {name: Bucket() for name in buckets}
        self.seen: list[Seen] = []
        self.requests: Counter[tuple[str, str]] = Counter()
        """(kind, key) -> how often it was asked."""
        self.stored: Counter[str] = Counter()
        """Key -> how often an object was stored there."""
        self.in_flight = 0
        self.most_in_flight = 0
        self.errors: list[BaseException] = []
        """What went wrong in the server itself; the end of the ``with`` raises the first."""
        self._exact: dict[tuple[str, str], _Script] = {}
        self._patterns: list[tuple[str, str, _Script]] = []
        self._attempts: Counter[tuple[str, str, int]] = Counter()
        self._ids = itertools.count(1)

    # what tests say

    def script(self, kind: str, key: str, words: str) -> None:
        """What happens to the requests of this kind (``*``: every kind) for this key (a pattern
        when it has ``*`` in it).  An exact key goes before a pattern, a later pattern before an
        earlier one."""
        assert kind == "*" or kind in KINDS, kind
        endless = words.endswith("...")
        script = _Script(words.removesuffix("...").split(), endless)
        for word in script.words:
            _steps(word)
        if "*" in key or kind == "*":
            self._patterns.insert(0, (kind, key, script))
        else:
            self._exact[kind, key] = script

    # what tests ask

    def objects(self, bucket: str) -> dict[str, Object]:
        """All objects of a bucket; none when there is no such bucket."""
        return self.buckets.get(bucket, Bucket()).objects

    def open_uploads(self, bucket: str) -> list[Upload]:
        """The multipart uploads that were begun and neither completed nor aborted."""
        return list(self.buckets.get(bucket, Bucket()).uploads.values())

    def wrong(self, bucket: str, root: str | Path, prefix: str = "") -> dict[str, str]:
        """Key -> what is wrong with the object, compared with the file below ``root``.

        Each piece is compared by SHA-256, so that parts in a wrong order are found; of the user
        metadata size and mtime are.  Files that have no object are not wrong.
        """
        found = {}
        for key, stored in self.objects(bucket).items():
            problem = _difference(stored, os.path.join(root, key.removeprefix(prefix)))
            if problem:
                found[key] = problem
        return found

    # life

    def _start(self, directory: Path, cleanup: contextlib.ExitStack) -> None:
        self._loop = asyncio.new_event_loop()
        self._peers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._stopping = asyncio.Event()
        thread = threading.Thread(target=self._run, args=(listener,), daemon=True)
        cleanup.callback(thread.join, PATIENCE)
        cleanup.callback(self._loop.call_soon_threadsafe, self._stopping.set)
        thread.start()

    def __exit__(self, *failure: object) -> None:
        super().__exit__(*failure)
        if failure[0] is None and self.errors:
            raise self.errors[0]

    def _run(self, listener: socket.socket) -> None:
        try:
            self._loop.run_until_complete(self._serve(listener))
        finally:
            self._loop.close()

    async def _serve(self, listener: socket.socket) -> None:
        server = await asyncio.start_server(self._talk, sock=listener, limit=MIB)
        await self._stopping.wait()
        server.close()
        tasks = list(self._peers)
        for writer in self._peers.values():
            writer.transport.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # one connection

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._peers[task] = writer
        peer = _Peer(reader, writer)
        try:
            while await self._exchange(peer):
                pass
        except asyncio.CancelledError:
            return  # the server stops
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left, which is its right
        except _Reset:
            peer.reset()
        except Exception as error:
            self.errors.append(error)
        finally:
            del self._peers[task]
            # close() sends what is still to be sent.
            writer.close()

    async def _exchange(self, peer: _Peer) -> bool:
        """One request and its answer; false when nothing more can follow."""
        request = _parse(await peer.reader.readuntil(b"\r\n\r\n"))
        identity = (request.kind, request.key, request.part)
        attempt = self._attempts[identity]
        self._attempts[identity] += 1
        word = self._word(*identity, attempt)
        seen = Seen(*identity, attempt, word, time.monotonic())
        self.seen.append(seen)
        self.requests[request.kind, request.key] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._play(request, seen, peer)
        finally:
            self.in_flight -= 1

    async def _play(self, request: _Request, seen: Seen, peer: _Peer) -> bool:
        """The steps of a request's word, in the order in which they happen."""
        steps = dict(_steps(seen.word))
        head_only = request.method == "HEAD"
        if "delay" in steps:
            await asyncio.sleep(steps["delay"] or 0)
        for name in steps:
            if name.startswith("early"):
                await peer.send(_render(_refusal(request, name[5:], None), head_only))
                await peer.linger()
                return False
        if "reset" in steps:
            size = min(int(steps["reset"] or 0), request.length)
            await peer.reader.readexactly(size)
            raise _Reset
        if "stall" in steps:
            await asyncio.sleep(PATIENCE)
            raise _Reset
        if request.headers.get("expect"):
            await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await peer.reader.readexactly(request.length)
        if "noanswer" in steps:
            return await peer.wait_for_end()
        if "hangup" in steps:
            return False
        if "garbage" in steps:
            await peer.send(b"\x16\x03\x01\x02\x00SSH-2.0-not HTTP at all\r\n\r\n")
            return False
        if "blank" in steps:
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return True
        answer = self._scripted_answer(request, steps, seen.attempt)
        if answer is None:
            if "corrupt" in steps:
                body = _damaged(body)
            answer = self._work(request, body, seen, rots="rot" in steps)
            answer = _falsified(answer, steps)
        return await self._send(peer, answer, steps, head_only)

    async def _send(
        self, peer: _Peer, answer: _Answer, steps: Mapping[str, float | None], head_only: bool
    ) -> bool:
        if "lost" in steps:
            raise _Reset
        if "mute" in steps:
            return await peer.wait_for_end()
        if "close" in steps:
            answer = answer._replace(headers={**answer.headers, "Connection": "close"})
        data = _render(answer, head_only, self.clock_offset)
        if "continue" in steps:
            data = b"HTTP/1.1 100 Continue\r\n\r\n" + data
        if "truncated" in steps:
            data = data[: len(data) // 2]
        if "extra" in steps:
            data += _render(_Answer(408, {"Connection": "close"}), head_only=False)
        if "dripping" in steps:
            for byte in data:
                await peer.send(bytes([byte]))
                await asyncio.sleep(steps["dripping"] or 0)
        else:
            await peer.send(data)
        return not steps.keys() & {"close", "fin", "truncated", "extra"}

    def _word(self, kind: str, key: str, part: int, attempt: int) -> str:
        script = self._exact.get((kind, key))
        if script is None:
            script = next(
                (
                    script
                    for wanted, pattern, script in self._patterns
                    if wanted in ("*", kind) and fnmatch.fnmatchcase(key, pattern)
                ),
                None,
            )
        if script is not None:
            return script.word(attempt)
        return self.storm.word(kind, key, part, attempt) if self.storm else "ok"

    def _scripted_answer(
        self, request: _Request, steps: Mapping[str, float | None], attempt: int
    ) -> _Answer | None:
        """The answer that stands in the script in place of the work."""
        for name, value in steps.items():
            if name.isdigit():
                return _refusal(request, name, value)
        if "slowdown" in steps:
            return _error(S3Error(503, "SlowDown"))
        if "expired" in steps:
            return _error(S3Error(400, "ExpiredToken"))
        if "error200" in steps:
            return _error(S3Error(200, "InternalError"))
        if "skew" in steps:
            date = formatdate(time.time() + 3600 * (attempt + 1), usegmt=True)
            answer = _error(S3Error(403, "RequestTimeTooSkewed"))
            return answer._replace(headers={**answer.headers, "Date": date})
        return None

    # what a good server does

    def _work(self, request: _Request, body: bytes, seen: Seen, *, rots: bool) -> _Answer:
        if self.hook:
            self.hook("before", seen)
        try:
            signed_by = self._verify(request, body)
            answer = self._operate(request, body, signed_by, rots=rots)
        except S3Error as error:
            answer = _error(error)
        if self.hook:
            self.hook("after", seen)
        return answer

    def _operate(
        self, request: _Request, body: bytes, signed_by: tuple[str, str], *, rots: bool
    ) -> _Answer:
        kind = request.kind
        if self.mode == "refusing" and any("checksum" in name for name in request.headers):
            raise S3Error(400, "InvalidArgument", "Unsupported header received for this API call")
        if kind == "create_bucket":
            if request.bucket in self.buckets:
                raise S3Error(409, "BucketAlreadyOwnedByYou")
            self.buckets[request.bucket] = Bucket()
            return _Answer()
        bucket = self.buckets.get(request.bucket)
        if bucket is None:
            raise S3Error(404, "NoSuchBucket")
        if kind == "head_bucket":
            return _Answer()
        if kind == "put":
            piece, headers = self._accept(request, body, rots=rots)
            content = body if len(body) <= KEPT else None
            bucket.objects[request.key] = Object(
                [piece], piece.etag, _described(request), *signed_by, content
            )
            self.stored[request.key] += 1
            return _Answer(headers=headers)
        if kind == "create":
            upload_id = f"upload-{next(self._ids)}"
            bucket.uploads[upload_id] = Upload(request.key, _described(request))
            return _xml("InitiateMultipartUploadResult", _tag("UploadId", upload_id))
        if kind in ("list", "list_uploads"):
            return (_list if kind == "list" else _list_uploads)(request, bucket)
        if kind in ("head", "get", "delete"):
            return _about_object(request, bucket)
        upload_id = request.parameter("uploadId")
        upload = bucket.uploads.get(upload_id)
        if upload is None or upload.key != request.key:
            raise S3Error(404, "NoSuchUpload")
        if kind == "part":
            piece, headers = self._accept(request, body, rots=rots)
            upload.parts[request.part] = piece
            return _Answer(headers=headers)
        if kind == "list_parts":
            return _list_parts(request, upload)
        del bucket.uploads[upload_id]
        if kind == "abort":
            return _Answer(204)
        try:
            return self._complete(request, body, bucket, upload, signed_by)
        except S3Error:
            bucket.uploads[upload_id] = upload
            raise

    def _accept(
        self, request: _Request, body: bytes, *, rots: bool
    ) -> tuple[Piece, dict[str, str]]:
        """Checks the body's checksums; returns what is stored, and the headers that say so."""
        crc = crc64nvme(body)
        if "content-md5" in request.headers and request.headers["content-md5"] != _md5(body):
            raise S3Error(400, "BadDigest", "The Content-MD5 did not match what we received")
        checks = self.mode == "new" and CRC in request.headers
        if checks and request.headers[CRC] != _crc_text(crc):
            raise S3Error(400, "BadDigest", "The CRC64NVME did not match what we received")
        if rots:
            body = _damaged(body)
            crc = crc64nvme(body)
        sha256 = hashlib.sha256(body).digest()
        old = self.mode in ("old", "refusing")
        etag = base64.b64decode(_md5(body)).hex() if old else sha256.hex()[:32]
        headers = {"ETag": f'"{etag}"', **({CRC: _crc_text(crc)} if checks else {})}
        if self.mode == "kms":
            headers["x-amz-server-side-encryption"] = "aws:kms"
        return Piece(len(body), sha256, crc, etag), headers

    def _complete(
        self,
        request: _Request,
        body: bytes,
        bucket: Bucket,
        upload: Upload,
        signed_by: tuple[str, str],
    ) -> _Answer:
        pieces, numbers = [], []
        try:
            for element in ElementTree.fromstring(body):
                row = {_local(child.tag): child.text or "" for child in element}
                numbers.append(int(row["PartNumber"]))
                piece = upload.parts[numbers[-1]]
                if row["ETag"].strip('"') != piece.etag:
                    raise S3Error(400, "InvalidPart", f"part {numbers[-1]} has another ETag")
                if row.get("ChecksumCRC64NVME", _crc_text(piece.crc)) != _crc_text(piece.crc):
                    raise S3Error(400, "InvalidPart", f"part {numbers[-1]} has another checksum")
                pieces.append(piece)
        except (ElementTree.ParseError, ValueError):
            raise S3Error(400, "MalformedXML") from None
        except KeyError as missing:
            raise S3Error(400, "InvalidPart", f"no {missing}") from None
        if numbers != sorted(set(numbers)) or not pieces:
            raise S3Error(400, "InvalidPartOrder")
        if any(piece.size < self.least_part for piece in pieces[:-1]):
            raise S3Error(400, "EntityTooSmall")
        digests = b"".join(bytes.fromhex(piece.etag) for piece in pieces)
        etag = f"{base64.b64decode(_md5(digests)).hex()}-{len(pieces)}"
        made = Object(pieces, etag, upload.headers, *signed_by, None)
        if request.headers.get(CRC, _crc_text(made.crc)) != _crc_text(made.crc):
            raise S3Error(400, "BadDigest")
        if int(request.headers.get("x-amz-mp-object-size", made.size)) != made.size:
            raise S3Error(400, "InvalidRequest", "x-amz-mp-object-size is another")
        bucket.objects[request.key] = made
        self.stored[request.key] += 1
        rows = [_tag("Key", request.key), _tag("ETag", f'"{etag}"')]
        if self.mode == "new":
            rows.append(_tag("ChecksumCRC64NVME", _crc_text(made.crc)))
        return _xml("CompleteMultipartUploadResult", *rows)

    def _verify(self, request: _Request, body: bytes) -> tuple[str, str]:
        """Who signed the request, and the signature; S3Error when it is not right.

        https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
        """
        headers = request.headers
        found = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
        if not found:
            raise S3Error(403, "AccessDenied", "not signed")
        access_key, day, region, names, signature = found.groups()
        if access_key in self.expired:
            raise S3Error(400, "ExpiredToken")
        if access_key not in self.users:
            raise S3Error(403, "InvalidAccessKeyId")
        signed = names.split(";")
        if unsigned := {n for n in headers if n == "host" or n.startswith("x-amz-")} - set(signed):
            raise S3Error(403, "AccessDenied", f"not signed: {sorted(unsigned)}")
        payload_hash, date = headers["x-amz-content-sha256"], headers["x-amz-date"]
        canonical = "\n".join(
            [
                request.method,
                request.path,
                "&".join(f"{name}={value}" for name, value in sorted(request.query)),
                *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in signed),
                "",
                names,
                payload_hash,
            ]
        )
        scope = f"{day}/{region}/s3/aws4_request"
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        key = f"AWS4{self.users[access_key]}".encode()
        for text in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashed}"):
            key = hmac.digest(key, text.encode(), "sha256")
        if not date.startswith(day) or not hmac.compare_digest(key.hex(), signature):
            raise S3Error(403, "SignatureDoesNotMatch")
        self._check_date(date)
        if payload_hash.startswith("STREAMING-"):
            raise S3Error(501, "NotImplemented")
        if payload_hash not in ("UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()):
            raise S3Error(400, "XAmzContentSHA256Mismatch")
        return access_key, signature

    def _check_date(self, date: str) -> None:
        if self.longest_skew is None:
            return
        theirs = calendar.timegm(time.strptime(date, "%Y%m%dT%H%M%SZ"))
        if abs(time.time() + self.clock_offset - theirs) > self.longest_skew:
            raise S3Error(403, "RequestTimeTooSkewed")


_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, ?"
    r"SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})"
)


class _Reset(Exception):
    """The connection is to be reset."""


class _Peer:
    """The two directions of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def wait_for_end(self) -> bool:
        """Says nothing until the client goes; false."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.reader.read(1), PATIENCE)
        return False

    async def linger(self) -> None:
        """Ends our side, and lets the client read what it was told."""
        with contextlib.suppress(OSError):
            self._writer.write_eof()
        await asyncio.sleep(LINGER)

    def reset(self) -> None:
        sock = self._writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


def _steps(word: str) -> list[Step]:
    """The steps of a word; fails when it says something unknown."""
    steps = []
    for text in word.split(","):
        found = _WORD.fullmatch(text)
        assert found, f"{text!r} is no word of a script"
        name, number, unit = found.groups()
        assert name in _NAMES or name[-3:].isdigit(), f"{name!r} is no fault"
        scale = {"": 1, "K": KIB, "M": MIB}[unit or ""]
        steps.append(Step(name, float(number) * scale if number else None))
    return steps


def _parse(head: bytes) -> _Request:
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    path, _, text = target.partition("?")
    query = [(name, value) for name, _, value in (p.partition("=") for p in text.split("&") if p)]
    bucket, _, raw_key = path[1:].partition("/")
    key = _decoded(raw_key)
    names = dict(query)
    kind = _kind(method, bool(key), names)
    return _Request(
        method,
        path,
        query,
        headers,
        kind,
        _decoded(bucket),
        key or _decoded(bucket),
        int(names.get("partNumber", 0)),
    )


def _kind(method: str, on_key: bool, names: Mapping[str, str]) -> str:
    if not on_key:
        if method == "GET":
            return "list_uploads" if "uploads" in names else "list"
        return {"HEAD": "head_bucket", "PUT": "create_bucket"}[method]
    if "uploadId" in names:
        return {"PUT": "part", "POST": "complete", "DELETE": "abort", "GET": "list_parts"}[method]
    if method == "POST":
        return "create"
    return {"PUT": "put", "DELETE": "delete", "GET": "get", "HEAD": "head"}[method]


def _decoded(text: str) -> str:
    return unquote_to_bytes(text).decode()


def _described(request: _Request) -> dict[str, str]:
    return {
        name: value
        for name, value in request.headers.items()
        if name == "content-type" or name.startswith("x-amz-meta-")
    }


def _refusal(request: _Request, status: str, after: float | None) -> _Answer:
    code = _CODES.get(int(status))
    if status == "404" and request.kind in ("part", "complete", "abort", "list_parts"):
        code = "NoSuchUpload"
    headers = {} if after is None else {"Retry-After": f"{after:g}"}
    if code is None:
        return _Answer(int(status), headers, b"<html><body>Bad <b>Gateway<br></html>")
    answer = _error(S3Error(int(status), code))
    return answer._replace(headers={**answer.headers, **headers})


def _damaged(body: bytes) -> bytes:
    return bytes([body[0] ^ 1]) + body[1:] if body else body


def _falsified(answer: _Answer, steps: Mapping[str, float | None]) -> _Answer:
    """The answer with another ETag or checksum, in the header or in the XML."""
    headers, body = dict(answer.headers), answer.body
    if "wrong-etag" in steps and answer.status == 200:
        headers.update({"ETag": f'"{"0" * 32}"'} if "ETag" in headers else {})
        body = re.sub(rb"<ETag>.*</ETag>", b"<ETag>&quot;0000-1&quot;</ETag>", body)
    if "wrong-checksum" in steps and answer.status == 200:
        headers.update({CRC: _crc_text(0x1234)} if CRC in headers else {})
        body = re.sub(
            rb"(<ChecksumCRC64NVME>).*(</Ch)", rb"\g<1>%b\2" % _crc_text(0x1234).encode(), body
        )
    return answer._replace(headers=headers, body=body)


def _render(answer: _Answer, head_only: bool, clock_offset: float = 0.0) -> bytes:
    """The bytes of an answer; of its head only when it answers a HEAD."""
    try:
        phrase = http.HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "Unknown"
    headers = {
        "Date": formatdate(time.time() + clock_offset, usegmt=True),
        "x-amz-request-id": "FAKE",
        "Content-Length": str(len(answer.body)),
        **answer.headers,
    }
    if answer.status == 204:
        del headers["Content-Length"]
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {answer.status} {phrase}\r\n{lines}\r\n".encode()
    return head if head_only else head + answer.body


def _error(error: S3Error) -> _Answer:
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error>{_tag('Code', error.code)}{_tag('Message', error.message)}</Error>"
    )
    return _Answer(error.status, {"Content-Type": "application/xml"}, body.encode())


def _xml(root: str, *rows: str) -> _Answer:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} {NAMESPACE}>{"".join(rows)}</{root}>'
    return _Answer(200, {"Content-Type": "application/xml"}, body.encode())


def _tag(name: str, text: object) -> str:
    return f"<{name}>{escape(str(text))}</{name}>"


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _about_object(request: _Request, bucket: Bucket) -> _Answer:
    if request.kind == "delete":
        bucket.objects.pop(request.key, None)
        return _Answer(204)
    stored = bucket.objects.get(request.key)
    if stored is None:
        raise S3Error(404, "NoSuchKey")
    headers = {**stored.headers, "ETag": f'"{stored.etag}"', "Content-Length": str(stored.size)}
    if request.kind == "head":
        return _Answer(200, headers)
    if stored.content is None:
        raise S3Error(501, "NotImplemented", "too large to be kept")
    return _Answer(200, headers, stored.content)


def _list(request: _Request, bucket: Bucket) -> _Answer:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html"""
    prefix, after = request.parameter("prefix"), request.parameter("continuation-token")
    keys = sorted(key for key in bucket.objects if key.startswith(prefix) and key > after)
    most = int(request.parameter("max-keys", "1000"))
    page, rest = keys[:most], keys[most:]
    rows = [
        "<Contents>"
        + _tag("Key", _encoded(request, key))
        + _tag("Size", bucket.objects[key].size)
        + _tag("ETag", f'"{bucket.objects[key].etag}"')
        + "</Contents>"
        for key in page
    ]
    rows += [_tag("KeyCount", len(page)), _tag("IsTruncated", str(bool(rest)).lower())]
    rows += _encoding(request)
    if rest:
        rows.append(_tag("NextContinuationToken", page[-1]))
    return _xml("ListBucketResult", *rows)


def _list_uploads(request: _Request, bucket: Bucket) -> _Answer:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html"""
    prefix = request.parameter("prefix")
    marker = (request.parameter("key-marker"), request.parameter("upload-id-marker"))
    found = sorted((upload.key, name) for name, upload in bucket.uploads.items())
    found = [row for row in found if row[0].startswith(prefix) and (row > marker or not marker[0])]
    most = int(request.parameter("max-uploads", "1000"))
    page, rest = found[:most], found[most:]
    rows = [
        f"<Upload>{_tag('Key', _encoded(request, key))}{_tag('UploadId', name)}"
        "<Initiated>2026-01-01T00:00:00.000Z</Initiated></Upload>"
        for key, name in page
    ]
    rows.append(_tag("IsTruncated", str(bool(rest)).lower()))
    rows += _encoding(request)
    if rest:
        rows += [_tag("NextKeyMarker", _encoded(request, page[-1][0]))]
        rows += [_tag("NextUploadIdMarker", page[-1][1])]
    return _xml("ListMultipartUploadsResult", *rows)


def _list_parts(request: _Request, upload: Upload) -> _Answer:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html"""
    marker = int(request.parameter("part-number-marker", "0"))
    numbers = sorted(number for number in upload.parts if number > marker)
    most = int(request.parameter("max-parts", "1000"))
    page, rest = numbers[:most], numbers[most:]
    rows = []
    for number in page:
        piece = upload.parts[number]
        rows.append(
            f"<Part>{_tag('PartNumber', number)}{_tag('Size', piece.size)}"
            f"{_tag('ETag', piece.etag)}{_tag('ChecksumCRC64NVME', _crc_text(piece.crc))}</Part>"
        )
    rows.append(_tag("IsTruncated", str(bool(rest)).lower()))
    if rest:
        rows.append(_tag("NextPartNumberMarker", page[-1]))
    return _xml("ListPartsResult", *rows)


def _encoded(request: _Request, key: str) -> str:
    return quote(key, safe="/") if request.parameter("encoding-type") == "url" else key


def _encoding(request: _Request) -> list[str]:
    return [_tag("EncodingType", "url")] if request.parameter("encoding-type") else []


def _difference(stored: Object, path: str) -> str:
    """In what an object is not the file; empty when it is."""
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        if stored.size != status.st_size:
            return f"{stored.size} bytes, not {status.st_size}"
        for number, piece in enumerate(stored.pieces, 1):
            if hashlib.sha256(file.read(piece.size)).digest() != piece.sha256:
                return f"other bytes in piece {number}"
    seconds, nanoseconds = divmod(status.st_mtime_ns, 10**9)
    expected = {"size": str(status.st_size), "mtime": f"{seconds}.{nanoseconds:09}"}
    for name, value in expected.items():
        if stored.headers.get(f"x-amz-meta-{name}") != value:
            return f"the metadata {name} is not {value}"
    return ""


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _md5(data: bytes) -> str:
    return _base64(hashlib.md5(data, usedforsecurity=False).digest())


def _crc_text(crc: int) -> str:
    return _base64(crc.to_bytes(8, "big"))
