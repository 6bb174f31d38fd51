"""A bucket is found in whatever region it is."""

from __future__ import annotations

from pathlib import Path

from tests.command import Finished, environment, run, small_files
from tests.servers.aws import Aws

NOTE = "the bucket is in region xx-newest-7, not us-east-1: going on there"


def upload(server: Aws, data: Path, *more: object) -> Finished:
    env = environment(
        AWS_ACCESS_KEY_ID=server.access_key,
        AWS_SECRET_ACCESS_KEY=server.secret_key,
        AWS_CA_BUNDLE=server.ca_file,
        HTTPS_PROXY=server.proxy,
    )
    return run("--src", data, "--bucket", "bucket", "--json", *more, env=env)


def notes(finished: Finished) -> list[str]:
    """What the user of a run that did its work is told."""
    assert (finished.code, finished.stderr) == (0, "")
    return [event["text"] for event in finished.events if event["event"] == "note"]


def test_every_worker_goes_on_in_the_buckets_region_and_the_user_hears_it_once(data: Path) -> None:
    """No table has this region."""
    names = small_files(data, 400)
    with Aws(bucket="xx-newest-7") as server:
        assert notes(upload(server, data, "--processes", 3)) == [NOTE]
        assert server.objects("bucket").keys() == set(names)
    hosts = {host for host, status in server.asked if status == 200}
    assert hosts == {"bucket.s3.xx-newest-7.amazonaws.com"}


def test_a_wrong_region_on_the_command_line_is_followed(data: Path) -> None:
    names = small_files(data, 3)
    with Aws(bucket="eu-west-1") as server:
        (note,) = notes(upload(server, data, "--region", "eu-south-1"))
        assert server.objects("bucket").keys() == set(names)
    assert note == "the bucket is in region eu-west-1, not eu-south-1: going on there"


def test_the_right_region_is_asked_at_once(data: Path) -> None:
    small_files(data, 3)
    with Aws(bucket="eu-west-1") as server:
        assert notes(upload(server, data, "--region", "eu-west-1")) == []
    assert {host for host, _ in server.asked} == {"bucket.s3.eu-west-1.amazonaws.com"}


def test_a_run_that_is_resumed_from_another_region_is_the_same_run(data: Path) -> None:
    """A bucket's name is its alone on AWS."""
    names = small_files(data, 3)
    (data / "link").symlink_to("nothing")  # fails, and keeps the journal
    with Aws(bucket="eu-west-1") as server:
        assert upload(server, data).summary["uploaded"] == len(names)
        summary = upload(server, data, "--region", "eu-west-1").summary
    assert (summary["uploaded"], summary["skipped"]) == (0, len(names))
