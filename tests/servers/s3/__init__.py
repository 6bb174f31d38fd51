"""An S3 server that does wrong what it is told, and remembers what it was given.

fake       FakeS3, which the tests use: plays the words of a script (tests.servers.faults)
service    what a good server does: buckets, objects, uploads, signatures
messages   requests and answers as bytes
transport  connections, in a thread of the test's process
"""

from .fake import FakeS3, Seen

__all__ = ["FakeS3", "Seen"]
