"""Google Cloud Storage with a service account, by libcloud's driver.

An HMAC key (GOOG...) speaks S3: ``s3/names.py`` has that.
"""

from __future__ import annotations

import json
import os
from typing import Any

from .base import Facts
from .errors import Fatal, one_line
from .libcloud import LibcloudCloud

_WANTED = (
    "google_storage needs an HMAC key (GOOG...) in GS_ACCESS_KEY_ID and GS_SECRET_ACCESS_KEY, or "
    "in GOOGLE_APPLICATION_CREDENTIALS the path of a service account's JSON key"
)


class GoogleCloud(LibcloudCloud):
    """The address is always Google's.

    Keys of other kinds are refused: with those libcloud waits for ever for somebody to log in by a
    browser.
    """

    @classmethod
    def facts(cls, provider: str) -> Facts:
        """Those of libcloud's drivers, with Google's variable."""
        credentials = "`GOOGLE_APPLICATION_CREDENTIALS`: a service account's JSON key"
        return super().facts(provider)._replace(credentials=credentials)

    def arguments(self) -> dict[str, Any]:
        """What libcloud's driver is made with; raises ``Fatal`` that says what is missing."""
        key, secret = os.environ.get("UPLOADER_KEY"), os.environ.get("UPLOADER_SECRET")
        path = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
        if key or not path:
            if not key or not secret or not key.endswith(".gserviceaccount.com"):
                raise Fatal(_WANTED)
            arguments = {"key": key, "secret": secret}
        else:
            arguments = _read(path)
        if self.settings.endpoint_url:
            raise Fatal("--endpoint-url: a service account goes to Google alone; HMAC keys take it")
        return arguments


def _read(path: str) -> dict[str, Any]:
    """The account in a JSON key, as Google's console gives it."""
    try:
        with open(path) as file:
            found = json.load(file)
        return {"key": found["client_email"], "secret": path, "project": found["project_id"]}
    except OSError as error:
        raise Fatal(f"GOOGLE_APPLICATION_CREDENTIALS: {one_line(error)}") from None
    except (ValueError, KeyError, TypeError):
        raise Fatal(
            f"GOOGLE_APPLICATION_CREDENTIALS: {path} is no service account's JSON key"
        ) from None


CLOUD = GoogleCloud
