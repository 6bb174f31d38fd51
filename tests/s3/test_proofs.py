"""What a HEAD tells of an object's content, and what it does not."""

from __future__ import annotations

import base64
import hashlib
from itertools import pairwise

import pytest
from awscrt.checksums import crc64nvme
from hypothesis import given
from hypothesis import strategies as st

from providers.base import MIB
from providers.proof import PartsProof, Proof
from providers.s3.proofs import likely_sizes, proof_in

CONTENT = b"content of an object"
MD5 = hashlib.md5(CONTENT).hexdigest()


def crc(content: bytes) -> str:
    return base64.b64encode(crc64nvme(content).to_bytes(8, "big")).decode()


def etag_of_parts(content: bytes, size: int) -> str:
    digests = [
        hashlib.md5(content[start : start + size]).digest()
        for start in range(0, len(content), size)
    ]
    return f"{hashlib.md5(b''.join(digests)).hexdigest()}-{len(digests)}"


def proof_of(
    headers: dict[str, str],
    size: int = len(CONTENT),
    asked: str | None = None,
    part: int | None = None,
    last: int | None = None,
) -> Proof | None:
    """``part`` and ``last``: bytes of the parts, as the service tells."""
    return proof_in(headers, size, asked, lambda number: part if number == 1 else last)


def holds(proof: Proof | None, content: bytes = CONTENT) -> bool | None:
    assert proof
    proof.update(content)
    return proof.holds()


SHA256 = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
PROOFS = [
    {"x-amz-checksum-crc64nvme": crc(CONTENT)},
    {"x-amz-checksum-crc64nvme": crc(CONTENT), "x-amz-checksum-type": "FULL_OBJECT"},
    {"x-amz-checksum-sha256": SHA256},
    {"etag": f'"{MD5}"'},
    {"etag": f'"{MD5}"', "x-amz-server-side-encryption": "AES256"},
    {"x-amz-checksum-sha256": "abc=-3", "etag": f'"{MD5}"'},
    {"x-amz-checksum-crc64nvme": crc(CONTENT), "x-amz-server-side-encryption": "aws:kms"},
]


@pytest.mark.parametrize("headers", PROOFS)
def test_a_proof_is_that_of_these_bytes_and_no_others(headers: dict[str, str]) -> None:
    assert holds(proof_of(headers)) is True
    assert holds(proof_of(headers), b"X" * len(CONTENT)) is False


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"etag": '"opaque"'},
        {"etag": f'"{MD5}"', "x-amz-server-side-encryption": "aws:kms"},
        {"etag": f'"{MD5}"', "x-amz-server-side-encryption-customer-algorithm": "AES256"},
        {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-type": "COMPOSITE"},
    ],
)
def test_what_is_no_hash_of_all_bytes_proves_nothing(headers: dict[str, str]) -> None:
    assert proof_of(headers) is None


def test_an_encryption_that_was_asked_for_counts_though_no_answer_names_it() -> None:
    assert proof_of({"etag": MD5}, asked="aws:kms") is None


class TestParts:
    CONTENT = bytes(range(256)) * (21 * MIB // 256 + 1)

    def test_a_usual_size_is_found(self) -> None:
        for size in (5 * MIB, 8 * MIB, 16 * MIB):
            headers = {"etag": f'"{etag_of_parts(self.CONTENT, size)}"'}
            assert holds(proof_of(headers, len(self.CONTENT)), self.CONTENT) is True

    def test_a_guess_proves_nothing_when_it_is_wrong(self) -> None:
        """The object may have been made of parts of another size."""
        headers = {"etag": etag_of_parts(self.CONTENT, 7 * MIB + 1)}
        assert holds(proof_of(headers, len(self.CONTENT)), self.CONTENT) is None

    def test_the_size_that_the_service_tells_is_certain(self) -> None:
        size = 7 * MIB + 1
        headers = {"etag": etag_of_parts(self.CONTENT, size)}
        last = len(self.CONTENT) % size
        found = proof_of(headers, len(self.CONTENT), part=size, last=last)
        assert holds(found, self.CONTENT) is True
        found = proof_of(headers, len(self.CONTENT), part=size, last=last)
        assert holds(found, self.CONTENT[::-1]) is False

    def test_parts_of_unequal_sizes_prove_nothing(self) -> None:
        cuts = [0, 10 * MIB, 16 * MIB, len(self.CONTENT)]
        parts = [self.CONTENT[start:end] for start, end in pairwise(cuts)]
        digest = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest()
        headers = {"etag": f"{digest}-3"}
        found = proof_of(headers, len(self.CONTENT), part=10 * MIB, last=len(parts[-1]))
        assert holds(found, self.CONTENT) is None

    def test_a_single_part_may_be_empty(self) -> None:
        digest = hashlib.md5(hashlib.md5(b"").digest()).hexdigest()
        found = proof_of({"etag": f"{digest}-1"}, 0, part=0)
        assert found
        assert found.holds() is True

    def test_a_service_that_overlooks_the_question_tells_the_whole_size(self) -> None:
        headers = {"etag": etag_of_parts(self.CONTENT, 8 * MIB)}
        found = proof_of(headers, len(self.CONTENT), part=len(self.CONTENT))
        assert holds(found, self.CONTENT) is True

    @given(st.integers(1, 2**42), st.integers(1, 10_000))
    def test_likely_sizes_make_so_many_parts(self, size: int, count: int) -> None:
        assert all(-(-size // each) == count for each in likely_sizes(size, count))

    @given(st.binary(min_size=1), st.integers(1, 50), st.integers(1, 50))
    def test_it_does_not_matter_how_the_bytes_come(
        self, content: bytes, size: int, step: int
    ) -> None:
        told = bytes.fromhex(etag_of_parts(content, size).partition("-")[0])
        proof = PartsProof(told, [size], certain=True)
        for start in range(0, len(content), step):
            proof.update(content[start : start + step])
        assert proof.holds()
