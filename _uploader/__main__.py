"""A worker's entry: ``python -m _uploader DESCRIPTOR``.  Patches first, then imports the rest."""

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402

from .worker import main  # noqa: E402

if __name__ == "__main__":
    main(int(sys.argv[1]))
