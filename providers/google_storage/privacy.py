"""Judges by settings, policy and ACLs whether a bucket is public.  Pure.

https://cloud.google.com/storage/docs/access-control
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..errors import Rejected

IAM, ACL, DEFAULT_ACL = "iam", "acl", "defaultObjectAcl"
"""What can be asked of a bucket: the end of the path.

https://cloud.google.com/storage/docs/json_api/v1/buckets/getIamPolicy
https://cloud.google.com/storage/docs/json_api/v1/bucketAccessControls/list
https://cloud.google.com/storage/docs/json_api/v1/defaultObjectAccessControls/list
"""
PREVENTED = {"publicAccessPrevention": "enforced"}
"""The setting that keeps the public out, whatever policy and ACLs say.
https://cloud.google.com/storage/docs/public-access-prevention
"""

_NAMES = {IAM: "IAM policy", ACL: "ACL", DEFAULT_ACL: "default object ACL"}
_EVERYBODY = {"allUsers": "everybody", "allAuthenticatedUsers": "everybody with a Google account"}


class Verdict(NamedTuple):
    """What is known of a bucket."""

    public: str
    """What makes it public; empty when nothing does."""
    unknown: str
    """What could not be checked, and why; empty when all could."""


def questions(bucket: Mapping[str, Any]) -> tuple[str, ...]:
    """What has to be asked of a bucket with these settings: nothing where public access is
    prevented, and no ACLs where access is uniform, since they are without effect."""
    settings = _mapping(bucket.get("iamConfiguration"))
    if PREVENTED.items() <= settings.items():
        return ()
    uniform = _mapping(settings.get("uniformBucketLevelAccess")).get("enabled")
    return (IAM,) if uniform is True else (IAM, ACL, DEFAULT_ACL)


def judge(answers: Mapping[str, Mapping[str, Any] | Rejected]) -> Verdict:
    """The verdict by the answers to ``questions``."""
    public, unknown = [], []
    for question, answer in answers.items():
        name = _NAMES[question]
        if isinstance(answer, Rejected):
            unknown.append(f"its {name} could not be checked ({answer})")
        else:
            grants = sorted(set(_grants(answer)))
            public += [f"by its {name}, which gives {who} {what}" for who, what in grants]
    return Verdict(", ".join(public), ", ".join(unknown))


def _grants(answer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Who of the public has which role, by a policy's bindings or an ACL's items."""
    for binding in answer.get("bindings", ()):
        for member in binding.get("members", ()):
            if who := _EVERYBODY.get(member):
                yield who, str(binding.get("role"))
    for item in answer.get("items", ()):
        if who := _EVERYBODY.get(item.get("entity")):
            yield who, str(item.get("role"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
