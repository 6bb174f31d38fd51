"""The bucket of a session: found, created, closed to the public."""

from __future__ import annotations

import hashlib
from xml.etree.ElementTree import Element, SubElement, tostring

from ..base import Prepared
from ..errors import Denied, Fatal, NoBucket, NotFound, Rejected
from .bucket_requests import NAMESPACE, BucketRequests
from .checksums import base64
from .privacy import BLOCK, blocking_all, is_blocked

_NOT_ACCELERATED = (
    "bucket {} does not exist, and a new one takes no accelerated transfers: create it and turn on "
    "its acceleration first, or turn off use_accelerate_endpoint"
)
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/transfer-acceleration.html"""


class Bucket:
    """The bucket that requests are about."""

    def __init__(self, requests: BucketRequests) -> None:
        self._requests = requests
        self._driver = requests.driver
        self._name = requests.bucket

    def prepare(self, create: bool, *, block_public: bool = True) -> Prepared:
        """Makes sure that the bucket exists, or creates it with ``create``; ``block_public``: a
        created bucket cannot be made public.

        It asks with a HEAD: listing all buckets needs a permission that careful keys lack.
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html
        """
        creating, note = self._driver.service.creating, ""
        try:
            self._find()
        except NotFound:
            if self._driver.service.is_accelerated:
                raise Fatal(_NOT_ACCELERATED.format(self._name)) from None
            if not create:
                raise NoBucket(f"bucket {self._name} does not exist") from None
            note = self._create()
        created = self._name in creating
        if created and block_public and self._block_public_access():
            note = f"{note}, public access blocked" if note else ""
        creating.discard(self._name)
        return Prepared(created, note)

    def _find(self) -> None:
        """Raises ``NotFound`` when there is no bucket, ``Fatal`` when it cannot be used."""
        service = self._driver.service
        region = service.region
        try:
            self._requests.exchange("HEAD")
        except NotFound:
            raise
        except Rejected:
            try:
                self._ask_why()
            except Fatal:
                if service.region == region:
                    raise
                # It was refused for its region, which only an answer with a body told.
                self._requests.exchange("HEAD")

    def ask(self, question: str) -> bytes:
        """The answer to one of ``privacy.QUESTIONS`` about the bucket; raises ``Rejected`` when the
        service does not know the question or the credentials may not ask."""
        return self._requests.exchange("GET", query=[(question, "")]).body

    def _block_public_access(self) -> bool:
        """Blocks all public access to the bucket.

        False when the service refuses, or does not say afterwards that it did: without a grant to
        anybody the bucket is private all the same.
        """
        body = blocking_all(NAMESPACE, is_aws=self._driver.service.partition is not None)
        digest = base64(hashlib.md5(body, usedforsecurity=False).digest())
        try:
            self._requests.exchange("PUT", "", [(BLOCK, "")], [("content-md5", digest)], body)
            # A service that overlooks the query has taken this for the creation of a bucket.
            return is_blocked(self.ask(BLOCK))
        except Rejected:
            return False

    def _ask_why(self) -> None:
        """Raises ``Fatal`` with the reason of a refused HEAD, which has no body; a listing has one.

        Both are refused to a key that may only put objects: no reason to stop.
        """
        query = [("list-type", "2"), ("max-keys", "1")]
        try:
            self._requests.exchange("GET", query=query)
        except Denied:
            return
        except Rejected as failure:
            raise Fatal(f"bucket {self._name} cannot be used: {failure}") from None

    def _create(self) -> str:
        """Creates the bucket; returns the note for the user.

        Without an ACL or policy a new bucket is its owner's alone.  When the answer gets lost, the
        bucket that is found then is the one that was made here.
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
        """
        creating = self._driver.service.creating
        may_be_ours = self._name in creating
        body = b""
        if self._driver.ex_location_name:
            root = Element("CreateBucketConfiguration", xmlns=NAMESPACE)
            SubElement(root, "LocationConstraint").text = self._driver.ex_location_name
            body = tostring(root)
        creating.add(self._name)
        try:
            self._requests.exchange("PUT", body=body)
        except Rejected as failure:
            owned = "BucketAlreadyOwnedByYou" in str(failure)
            if not (owned and may_be_ours):
                creating.discard(self._name)
            if owned:
                return ""
            raise Fatal(f"bucket {self._name} cannot be created: {failure}") from None
        return f"created bucket {self._name}, private to its owner"
