"""The old ``uploader`` module's names, on the new engine.

Libraries are among them: callers got these, too, from ``from uploader import *``.  ``object_stat``
is new and given to those who ask for it: a star gives the old names alone.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import time

import gevent
import libcloud
from gevent import monkey
from gevent.pool import Pool
from libcloud.storage.providers import get_driver
from libcloud.storage.types import Provider

from providers.attributes import object_stat as object_stat

from .functions import current_milli_time, getFiles, timed
from .uploads import BaseUpload, ParallelUpload

__all__ = [
    "BaseUpload",
    "ParallelUpload",
    "Pool",
    "Provider",
    "current_milli_time",
    "datetime",
    "get_driver",
    "getFiles",
    "gevent",
    "json",
    "libcloud",
    "math",
    "monkey",
    "os",
    "time",
    "timed",
]
