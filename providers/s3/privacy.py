"""Judges by a service's answers whether a bucket is public.  Pure.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
https://cloud.google.com/storage/docs/xml-api/get-bucket-acls
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

from ..errors import Failure
from ..http.xml import fields, local_name, parsed

ACL = "acl"
POLICY = "policyStatus"
BLOCK = "publicAccessBlock"
QUESTIONS = (ACL, POLICY, BLOCK)
"""The names in the query of what is asked about a bucket.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketAcl.html
https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketPolicyStatus.html
https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetPublicAccessBlock.html
"""
DEFAULT_ACL = "defaultObjectAcl"
QUESTIONS_TO_GOOGLE = (ACL, DEFAULT_ACL)
"""Those of Google's: policies are IAM's there, which this API cannot ask.

https://cloud.google.com/storage/docs/xml-api/get-bucket-default-acl
"""

_GROUPS = {
    "http://acs.amazonaws.com/groups/global/AllUsers": "everybody",
    "http://acs.amazonaws.com/groups/global/AuthenticatedUsers": "every user of the service",
}
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html"""
_SCOPES = {"AllUsers": "everybody", "AllAuthenticatedUsers": "everybody with a Google account"}
"""https://cloud.google.com/storage/docs/access-control/lists#scopes"""
_ACL_ROOTS = ("AccessControlPolicy", "AccessControlList")
"""Of S3's ACLs, and of Google's."""
_NO_ACLS = "InvalidArgument"
"""Google's answer to the question about an ACL where access is uniform: then ACLs have no effect.
https://cloud.google.com/storage/docs/uniform-bucket-level-access
"""
_IGNORES_ACLS, _RESTRICTS_POLICY = "IgnorePublicAcls", "RestrictPublicBuckets"
_BLOCKS = (_IGNORES_ACLS, "BlockPublicPolicy", _RESTRICTS_POLICY)
_BLOCKS_OF_AWS = ("BlockPublicAcls", *_BLOCKS)
"""Ceph (16.2 at least) refuses every PutObject to a bucket with BlockPublicAcls.  IgnorePublicAcls
alone takes all effect from what it would keep out."""


class Verdict(NamedTuple):
    """What is known of a bucket."""

    public: str
    """What makes it public; empty when nothing does."""
    unknown: str
    """What could not be checked, and why; empty when all could."""


def judge(answers: Mapping[str, bytes | Failure], *, is_aws: bool) -> Verdict:
    """The verdict by the answers to ``QUESTIONS``: bodies, or why there are none.

    A block restricts a public policy on AWS only: older Ceph keeps that setting and lets
    everybody in all the same.
    """
    blocked = _settings(answers[BLOCK])
    public, unknown = ([], []) if _IGNORES_ACLS in blocked else _by_acl("ACL", answers[ACL])
    if not is_aws or _RESTRICTS_POLICY not in blocked:
        policy = _answered(answers[POLICY], "PolicyStatus")
        if policy is not None and "IsPublic" in fields(policy):
            if _is_true(fields(policy)["IsPublic"]):
                public.append("by its policy, as the service says")
        elif "NoSuchBucketPolicy" not in str(answers[POLICY]):
            unknown.append(f"its policy could not be checked ({_why(answers[POLICY])})")
    return Verdict(", ".join(public), ", ".join(unknown))


def judge_google(answers: Mapping[str, bytes | Failure]) -> Verdict:
    """The verdict by the answers to ``QUESTIONS_TO_GOOGLE``.

    Every object gets the default ACL, whatever the bucket's own says.
    """
    public, unknown = [], []
    for question, name in ((ACL, "ACL"), (DEFAULT_ACL, "default object ACL")):
        answer = answers[question]
        if not (isinstance(answer, Failure) and _NO_ACLS in str(answer)):
            granted, doubts = _by_acl(name, answer)
            public += granted
            unknown += doubts
    unknown.append("its IAM policy cannot be asked with an HMAC key")
    return Verdict(", ".join(public), ", ".join(unknown))


def blocking_all(namespace: str, *, is_aws: bool) -> bytes:
    """The body of a PutPublicAccessBlock that leaves no public access.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutPublicAccessBlock.html
    """
    root = Element("PublicAccessBlockConfiguration", xmlns=namespace)
    for name in _BLOCKS_OF_AWS if is_aws else _BLOCKS:
        SubElement(root, name).text = "true"
    return bytes(tostring(root))


def is_blocked(answer: bytes) -> bool:
    """Whether the answer to ``BLOCK`` says that nobody gets in by an ACL or a policy."""
    return {*_BLOCKS} <= _settings(answer)


def _settings(answer: bytes | Failure) -> set[str]:
    """What a public access block has turned on."""
    block = _answered(answer, "PublicAccessBlockConfiguration")
    return set() if block is None else {k for k, v in fields(block).items() if _is_true(v)}


def _answered(answer: bytes | Failure, *roots: str) -> Element | None:
    """The answer's root element; None when its name is another: services that do not know a
    question answer another one.  Ceph 16.2 puts ``Block`` before the block's name."""
    page = None if isinstance(answer, Failure) else parsed(answer)
    return page if page is not None and local_name(page).endswith(roots) else None


def _by_acl(name: str, answer: bytes | Failure) -> tuple[list[str], list[str]]:
    """What an ACL makes public, and what of it could not be checked."""
    acl = _answered(answer, *_ACL_ROOTS)
    if acl is None:
        return [], [f"its {name} could not be checked ({_why(answer)})"]
    grants = sorted(set(_grants(acl)))
    return [f"by its {name}, which gives {who} {what}" for who, what in grants], []


def _grants(acl: Element) -> Iterator[tuple[str, str]]:
    """Who of the public may do what: S3's grants to groups, Google's entries for scopes."""
    for grant in acl.iter():
        if local_name(grant) in ("Grant", "Entry"):
            texts = {local_name(node): node.text or "" for node in grant.iter()}
            scopes = [node.get("type", "") for node in grant if local_name(node) == "Scope"]
            who = _GROUPS.get(texts.get("URI", "").strip())
            if who := who or next(filter(None, map(_SCOPES.get, scopes)), None):
                yield who, texts.get("Permission", "").strip()


def _why(answer: bytes | Failure) -> str:
    return str(answer) if isinstance(answer, Failure) else "the service answers something else"


def _is_true(text: str) -> bool:
    return text.strip().lower() == "true"
