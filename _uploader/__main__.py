"""The fork server's entry: ``python -m _uploader DESCRIPTOR``.

Patches first, then imports all that the workers will need, and is forked from then on.
"""

import gc

from gevent import events

# gevent asks the metadata of all installed packages who wants to hear of its patches.  With 50
# packages that takes 12 ms, and nobody does.
events.notify_and_call_entry_points = events.notify

from gevent import monkey  # noqa: E402

gc.disable()  # until a worker is forked: imports leave no garbage
monkey.patch_all()

import contextlib  # noqa: E402
import sys  # noqa: E402
import warnings  # noqa: E402

# libcloud imports requests, which guesses the charset of texts with one of these: 2.6 MB and 5 ms
# for nothing, as no answer comes by way of requests.
sys.modules["chardet"] = sys.modules["charset_normalizer"] = None  # type: ignore[assignment]
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # requests says that it misses them
    import requests  # noqa: F401

import providers  # noqa: E402
from providers.errors import Fatal  # noqa: E402

from .processes import fork_server, worker  # noqa: E402

if __name__ == "__main__":
    provider, environment = fork_server.take_instructions(int(sys.argv[1]))
    with contextlib.suppress(Fatal):  # each worker will say it
        providers.find(provider)
    fork_server.serve(int(sys.argv[1]), worker.main, environment)
