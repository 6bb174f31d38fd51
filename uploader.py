"""Uploads a directory to a bucket: the command, and the old module.

python uploader.py --src data --bucket b

from uploader import *
"""

if __name__ == "__main__":
    import sys

    from _uploader.start import main

    sys.exit(main())
else:
    from gevent import monkey

    monkey.patch_all()

    from _uploader.apart import our_modules

    with our_modules():
        from _uploader.dropin import *  # noqa: F403
        from _uploader.dropin import __all__, object_stat  # noqa: F401
    del our_modules
