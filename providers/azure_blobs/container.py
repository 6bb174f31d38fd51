"""The container of a session: found, created, private."""

from __future__ import annotations

from ..base import Prepared
from ..errors import Denied, Fatal, NoBucket, Rejected
from ..http.response import Response
from .container_requests import CONTAINER, ContainerRequests


class Container:
    """The container that requests are about."""

    def __init__(self, requests: ContainerRequests) -> None:
        self._requests = requests
        self._name = requests.container

    def prepare(self, create: bool, allow_public: bool) -> Prepared:
        """Makes sure that the container exists, or creates it with ``create``, and is private."""
        name, was_missing, note = self._name, self._requests.driver.service.was_missing, ""
        try:
            note = self._privacy(self.ask(), allow_public)
        except Denied as failure:
            note = f"whether container {name} is public could not be checked: {failure}"
        except NoBucket:
            if not create:
                raise NoBucket(f"container {name} does not exist") from None
            # Remembered: it is a new one even when the answer to its creation gets lost.
            was_missing.add(name)
            note = self._create(allow_public)
        except Rejected as failure:
            raise Fatal(f"container {name} cannot be used: {failure}") from None
        created = name in was_missing
        was_missing.discard(name)
        return Prepared(created, note)

    def ask(self) -> Response:
        """Asks with a GET: the answer to a HEAD does not say why it is a refusal.

        https://learn.microsoft.com/en-us/rest/api/storageservices/get-container-properties
        """
        return self._requests.exchange("GET", query=(CONTAINER,))

    def _privacy(self, answer: Response, allow_public: bool) -> str:
        """The note on a container that is there; raises ``Fatal`` when anybody can read it.

        https://learn.microsoft.com/en-us/azure/storage/blobs/anonymous-read-access-configure
        """
        level = answer.headers.get("x-ms-blob-public-access")
        if not level:
            return ""
        if allow_public:
            return f"container {self._name} is public: anybody can read its blobs"
        raise Fatal(
            f"container {self._name} is public (access level {level!r}): anybody could read "
            "what is uploaded; make it private, or use --allow-public"
        )

    def _create(self, allow_public: bool) -> str:
        """Creates the container; returns the note for the user.

        Without x-ms-blob-public-access nobody gets in without credentials.
        https://learn.microsoft.com/en-us/rest/api/storageservices/create-container
        """
        try:
            self._requests.exchange("PUT", query=(CONTAINER,))
        except Rejected as failure:
            if "ContainerAlreadyExists" in str(failure):  # somebody was faster
                return self._privacy(self.ask(), allow_public)
            raise Fatal(f"container {self._name} cannot be created: {failure}") from None
        return f"created container {self._name}, private to its account"
