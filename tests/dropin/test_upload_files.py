"""``ParallelUpload``: lists of files, and what a subclass has of its own."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from bench.network import Network
from tests.command import MIB, keys, stored, write
from tests.dropin.programs import OPENING, THROUGH_PROCESSES, Program, make_files
from tests.servers import require
from tests.servers.azurite import Azurite
from tests.servers.moto import Moto
from tests.servers.s3 import FakeS3

SECRET = "a-secret-that-nobody-may-see"


class TestUploadFiles:
    @pytest.mark.parametrize("setting", ["", THROUGH_PROCESSES], ids=["here", "processes"])
    def test_keys_are_the_paths_as_given(
        self, on_moto: Program, work: Path, moto: Moto, bucket: str, setting: str
    ) -> None:
        make_files(work / "data" / "x", 60)
        paths = ["./data/x/001.txt", "../work/data/x/002.txt", "data//x/003.txt"]
        done = on_moto(
            setting
            + f"files = getFiles('data') + [{{'path': p, 'size': 1}} for p in {paths}]\n"
            + "assert ParallelUpload(*ACCOUNT).uploadFiles(files, 20) is None\n"
            + "import psutil\n"
            + "me = psutil.Process()\n"
            + "assert me.children(recursive=True) == [] and me.net_connections() == []\n"
            + "import gc\n"
            + "alive = [g for g in gc.get_objects() if isinstance(g, gevent.Greenlet) and g]\n"
            + "assert alive == [], alive\n"
        )
        pattern = r"creating container\.\.\.\npoolsize: 20\nuploadFiles: \d+ ms\n"
        assert re.fullmatch(pattern, done.stdout)
        objects = stored(moto, bucket)
        assert set(objects) == {*paths, *(f"data/x/{number:03}.txt" for number in range(60))}
        for key, found in objects.items():
            assert found.size == (work / key).stat().st_size == int(found.metadata["size"])
            assert set(found.metadata) == {"dt", "size", "mtime", "mode", "uid", "gid"}

    def test_a_slow_link_is_no_silence(self, program: Program, work: Path, bucket: str) -> None:
        """Bytes that leave say that the service is there: nobody asks for a sign of life."""
        require(Network)
        write(work, "data/file", bytes(200_000))
        with FakeS3(buckets=[bucket]) as server, Network(server.endpoint, rate=50_000) as network:
            program(
                OPENING.replace("testaccesskey", server.access_key).replace(
                    "testsecretkey", server.secret_key
                )
                + "import _uploader.transfer.engine\n"
                + "_uploader.transfer.engine.SILENCE = 1.5\n"
                + "ParallelUpload(*ACCOUNT).uploadFiles(getFiles('data'), 20)\n",
                AWS_ENDPOINT_URL=network.url,
            )
            assert server.objects(bucket).keys() == {"data/file"}
            assert server.requests["head_bucket", bucket] == 1

    def test_secrets_stay_secret(
        self, on_moto: Program, work: Path, moto: Moto, bucket: str
    ) -> None:
        """While workers run, no process has the secret in its arguments or its environment, where
        others of the same user can read it; and what the caller's environment says of an account is
        not used."""
        make_files(work / "data", 60)
        (work / "secret").write_text(SECRET)
        done = on_moto(
            THROUGH_PROCESSES
            + dedent("""
            import psutil
            from pathlib import Path
            secret = Path('secret').read_text()
            seen = set()
            def look():
                while True:
                    for process in psutil.Process().children(recursive=True):
                        try:
                            arguments = ' '.join(process.cmdline())
                            assert secret not in arguments
                            if '_uploader' in arguments:  # else it is not yet itself
                                assert secret not in ' '.join(process.environ().values())
                                seen.add(process.pid)
                        except psutil.Error:
                            pass
                    gevent.sleep(0.01)
            uploader = ParallelUpload(Provider.S3, 'testaccesskey', secret, bucket)
            looking = gevent.spawn(look)
            uploader.uploadFiles(getFiles('data') + [{'path': 'none', 'size': 1}], 4)
            assert not looking.dead and seen
            looking.kill()
            assert secret not in ' '.join(os.environ.values())
            print(uploader.driver, uploader.driver.service, uploader.container)
            print(uploader._account)
            """),
            quiet=False,
            AWS_ACCESS_KEY_ID="other",
            AWS_SECRET_ACCESS_KEY="another",
            AWS_SESSION_TOKEN="token",
            AWS_PROFILE="missing",
        )
        assert done.stderr.startswith("none: vanished")
        assert SECRET not in done.stdout + done.stderr
        assert len(keys(moto, bucket)) == 60

    @pytest.mark.parametrize("setting", ["", THROUGH_PROCESSES], ids=["here", "processes"])
    def test_failures_are_told_and_the_rest_uploaded(
        self, on_moto: Program, work: Path, moto: Moto, bucket: str, setting: str
    ) -> None:
        make_files(work / "data", 60)
        done = on_moto(
            setting
            + "files = getFiles('data')\n"
            + "os.remove('data/007.txt')\n"
            + "files += [{'path': 'bad\\udcff', 'size': 0}, {'path': 'data', 'size': 0}]\n"
            + "assert ParallelUpload(*ACCOUNT).uploadFiles(files, 1000) is None\n",
            quiet=False,
        )
        told, _, listed = done.stderr.partition("listed in ")
        assert sorted(told.splitlines()) == [
            r"bad\udcff: name is not valid UTF-8",
            "data/007.txt: vanished after the scan",
            "data: is no longer a regular file",
        ]
        assert bool(listed) == bool(setting)
        assert len(keys(moto, bucket)) == 59

    @pytest.mark.parametrize("setting", ["", THROUGH_PROCESSES], ids=["here", "processes"])
    def test_many_failures_are_counted(self, on_moto: Program, setting: str) -> None:
        done = on_moto(
            setting + "files = [{'path': f'none{i}', 'size': 1} for i in range(60)]\n"
            "ParallelUpload(*ACCOUNT).uploadFiles(files, 20)\n",
            quiet=False,
        )
        lines = done.stderr.splitlines()
        assert all(line.endswith(": vanished after the scan") for line in lines[:20])
        assert lines[20] == "... and 40 more"

    @pytest.mark.parametrize("setting", ["", THROUGH_PROCESSES], ids=["here", "processes"])
    def test_what_no_file_can_survive_is_told(
        self, on_moto: Program, work: Path, moto: Moto, setting: str
    ) -> None:
        make_files(work / "data", 60)
        done = on_moto(
            setting
            + "uploader = ParallelUpload(*ACCOUNT)\n"
            + "uploader.driver.delete_container(uploader.container)\n"
            + "uploader.container.name += '-gone'\n"
            + "uploader.uploadFiles(getFiles('data'), 8)\n",
            quiet=False,
        )
        assert "uploadFiles: " in done.stdout
        assert "bucket does not exist" in done.stderr or "-gone does not exist: " in done.stderr
        assert len(done.stderr.splitlines()) < 30

    def test_an_empty_list(self, on_moto: Program) -> None:
        done = on_moto("print(ParallelUpload(*ACCOUNT).uploadFiles([], 5))")
        assert re.search(r"poolsize: 5\nuploadFiles: \d+ ms\nNone\n", done.stdout)

    def test_from_greenlets_at_once(
        self, on_moto: Program, work: Path, moto: Moto, bucket: str
    ) -> None:
        make_files(work / "a", 30)
        make_files(work / "b", 30)
        on_moto("""
            uploader = ParallelUpload(*ACCOUNT)
            run = lambda name: uploader.uploadFiles(getFiles(name), 50)
            gevent.joinall([gevent.spawn(run, 'a'), gevent.spawn(run, 'b')], raise_error=True)
        """)
        assert len(keys(moto, bucket)) == 60

    def test_large_files_go_in_parts(
        self, on_moto: Program, work: Path, moto: Moto, bucket: str
    ) -> None:
        with (work / "large").open("wb") as file:
            file.truncate(51 * 2**20)
        on_moto("ParallelUpload(*ACCOUNT).uploadFiles([{'path': 'large', 'size': 51 << 20}], 4)")
        head = moto.boto3().head_object(Bucket=bucket, Key="large")
        assert head["ContentLength"] == 51 * 2**20
        assert "-" in head["ETag"]
        assert set(head["Metadata"]) == {"dt", "size", "mtime", "mode", "uid", "gid"}

    def test_parts_that_no_later_run_knows_of_are_not_left_behind(
        self, program: Program, work: Path, bucket: str
    ) -> None:
        write(work, "large", b"x" * 17 * MIB)
        code = """
        import dataclasses
        @dataclasses.dataclass(frozen=True)
        class Impatient(_uploader.dropin.engines.Settings):
            retries: int = 0
        _uploader.dropin.engines.Settings = Impatient
        _uploader.dropin.engines.HERE_FILES = 0
        ParallelUpload(*ACCOUNT).uploadFiles([{'path': 'large', 'size': 17 << 20}], 4)
        """
        with FakeS3(buckets=[bucket]) as server:
            server.script("part", "large", "500...")
            done = program(
                OPENING + THROUGH_PROCESSES + dedent(code),
                quiet=False,
                AWS_ENDPOINT_URL=server.endpoint,
            )
            assert done.stderr.startswith("large: InternalError")
            assert server.open_uploads(bucket) == []

    def test_the_local_provider(self, program: Program, work: Path, tmp_path: Path) -> None:
        make_files(work / "data" / "x", 60)
        (tmp_path / "store").mkdir()
        for setting in ("", THROUGH_PROCESSES):
            program(
                OPENING
                + setting
                + "uploader = ParallelUpload(Provider.LOCAL, '../store', '', bucket)\n"
                + "os.chmod('data/x/005.txt', 0o640)\n"
                + "uploader.upload('data/x/005.txt', 'one', {}, 51 << 20)\n"
                + "uploader.uploadMultiPart(uploader.driver, 'data/x/005.txt', 'two')\n"
                + "uploader.uploadFiles(getFiles('data'), 20)\n"
                + "uploader.saveMeta()\n"
            )
            [store] = (tmp_path / "store").iterdir()
            assert len(list((store / "data" / "x").iterdir())) == 60
            for name in ("one", "two"):
                assert (store / name).read_bytes() == b"xxxxx"
                assert (store / name).stat().st_mode == 0o100640
            assert json.loads((work / "meta.json").read_text())["data/x/059.txt"]["size"] == 59


class TestAzure:
    """Our driver and session, as for S3: blocks of ours, side by side."""

    @pytest.fixture
    def on_azurite(self, program: Program, azurite: Azurite) -> Program:
        def run(code: str) -> subprocess.CompletedProcess[str]:
            account = f"ACCOUNT = (Provider.AZURE_BLOBS, *{(azurite.account, azurite.key)}, bucket)"
            opening = OPENING.rpartition("ACCOUNT")[0] + account + "\n"
            endpoint = azurite.endpoint
            # Azurite knows no CRC, which is worth a line.
            return program(opening + dedent(code), quiet=False, UPLOADER_ENDPOINT_URL=endpoint)

        return run

    @pytest.mark.parametrize("here_files", [9999, 0], ids=["here", "processes"])
    def test_files_of_all_sizes(
        self, on_azurite: Program, azurite: Azurite, work: Path, bucket: str, here_files: int
    ) -> None:
        make_files(work / "data", 20)
        with (work / "data" / "large").open("wb") as file:
            file.truncate(17 * MIB)
        done = on_azurite(f"""
            import _uploader.dropin.engines
            _uploader.dropin.engines.HERE_FILES = {here_files}
            ParallelUpload(*ACCOUNT).uploadFiles(getFiles('data'), 8)
        """)
        assert done.stdout.startswith("creating container...\n")
        container = azurite.client().get_container_client(bucket)
        found = {blob.name: blob.size for blob in container.list_blobs()}
        assert found == {f"data/{n:03}.txt": n for n in range(20)} | {"data/large": 17 * MIB}
        blob = container.get_blob_client("data/large")
        assert block_sizes(blob) == [8 * MIB, 8 * MIB, MIB]
        metadata = blob.get_blob_properties().metadata
        assert set(metadata) == {"dt", "size", "mtime", "mode", "uid", "gid"}

    def test_every_way_to_upload_one_file(
        self, on_azurite: Program, azurite: Azurite, work: Path, bucket: str
    ) -> None:
        (work / "file.json").write_bytes(b"content")
        with (work / "large").open("wb") as file:
            file.truncate(51 * MIB)
        on_azurite("""
            uploader = BaseUpload(*ACCOUNT)
            meta = {'Note': 'n'}
            objects = [
                uploader.upload('file.json', 'small', meta, 7),
                uploader.upload('large', 'large', meta),
            ]
            assert [(o.name, o.size) for o in objects] == [('small', 7), ('large', 51 << 20)]
            uploader.saveMeta()
        """)
        container = azurite.client().get_container_client(bucket)
        assert block_sizes(container.get_blob_client("large")) == [8 * MIB] * 6 + [3 * MIB]
        for name in ("small", "large"):
            metadata = container.get_blob_client(name).get_blob_properties().metadata
            assert metadata["note"] == "n"
        assert set(json.loads((work / "meta.json").read_text())) == {"small", "large"}


def block_sizes(blob: Any) -> list[int]:
    """Of the blocks that make a blob, whose names have 48 bytes, as the engine's have."""
    committed, _ = blob.get_block_list("committed")
    assert {len(block.id) for block in committed} <= {48}
    return [block.size for block in committed]


class TestOverrides:
    """What a subclass has of its own is used."""

    def test_async_upload(self, on_moto: Program, work: Path, moto: Moto, bucket: str) -> None:
        make_files(work / "data", 30)
        done = on_moto("""
            class Mine(ParallelUpload):
                sizes = {}
                def asyncUpload(self, file, filesize=0):
                    self.sizes[file] = filesize
                    return super().asyncUpload(file, filesize)
            uploader = Mine(*ACCOUNT)
            uploader.uploadFiles(getFiles('data'), 4)
            assert uploader.sizes == {f['path']: f['size'] for f in getFiles('data')}
        """)
        assert re.search(r"poolsize: 4\nuploadFiles: \d+ ms\n", done.stdout)
        objects = stored(moto, bucket)
        assert len(objects) == 30
        assert all("dt" in found.metadata for found in objects.values())

    def test_an_async_upload_that_fails_is_called_again(self, on_moto: Program) -> None:
        """A bounded number of times, whether it returns an error or raises one."""
        done = on_moto(
            """
            calls = {}
            class Mine(ParallelUpload):
                def asyncUpload(self, file, filesize=0):
                    calls[file] = calls.get(file, 0) + 1
                    if file == 'raises':
                        raise OSError('no luck')
                    if file == 'never' or calls[file] < 3:
                        return {'error': file}
                    return {'success': file}
            files = [{'path': p, 'size': 0} for p in ('raises', 'never', 'later')]
            assert Mine(*ACCOUNT).uploadFiles(files, 20) is None
            assert calls == {'raises': 6, 'never': 6, 'later': 3}, calls
            """,
            quiet=False,
        )
        assert sorted(done.stderr.splitlines()) == [
            "never: asyncUpload returned an error",
            "raises: OSError: no luck",
        ]

    @pytest.mark.parametrize("count", [10, 60])
    def test_init_driver(
        self, on_moto: Program, work: Path, moto: Moto, bucket: str, count: int
    ) -> None:
        """Another token, or, here, libcloud's own driver on another host."""
        make_files(work / "data", count)
        host, port = moto.endpoint.removeprefix("http://").split(":")
        on_moto(
            THROUGH_PROCESSES
            + dedent(f"""
            made = []
            class Mine(ParallelUpload):
                def initDriver(self):
                    driver = self.factory(
                        self.key, self.secret, host={host!r}, port={port}, secure=False
                    )
                    made.append(driver)
                    return driver
            uploader = Mine(*ACCOUNT)
            assert type(uploader.driver) is get_driver(Provider.S3)
            uploader.upload('data/001.txt', 'one', {{'dt': 'now'}}, 1)
            uploader.uploadMultiPart(uploader.driver, 'data/001.txt', 'two', {{'dt': 'now'}})
            uploader.uploadFiles(getFiles('data'), 5)
            uploader.saveMeta()
            assert 2 <= len(made) <= 6
            assert uploader.asyncUpload('data/001.txt', 1) == {{'success': 'data/001.txt'}}
            """),
            AWS_ENDPOINT_URL="http://127.0.0.1:9",
        )
        objects = stored(moto, bucket)
        assert len(objects) == count + 2 == len(json.loads((work / "meta.json").read_text()))
        for found in objects.values():
            assert set(found.metadata) == {"dt", "size", "mtime", "mode", "uid", "gid"}

    def test_init_driver_of_ours(
        self, on_moto: Program, work: Path, moto: Moto, bucket: str
    ) -> None:
        make_files(work / "data", 10)
        on_moto("""
            class Mine(ParallelUpload):
                count = 0
                def initDriver(self):
                    self.count += 1
                    return super().initDriver()
            uploader = Mine(*ACCOUNT)
            uploader.uploadFiles(getFiles('data'), 5)
            assert uploader.count == 6
        """)
        assert len(keys(moto, bucket)) == 10

    def test_an_init_driver_that_fails(self, on_moto: Program) -> None:
        done = on_moto(
            """
            class Mine(ParallelUpload):
                def initDriver(self):
                    if hasattr(self, 'container'):
                        raise RuntimeError('no token')
                    return super().initDriver()
            files = [{'path': sys.argv[0], 'size': 0}]
            Mine(*ACCOUNT).uploadFiles(files, 5)
            """,
            quiet=False,
        )
        assert "program.py: unexpected RuntimeError: no token" in done.stderr

    def test_upload_simple(self, on_moto: Program, work: Path, moto: Moto, bucket: str) -> None:
        make_files(work / "data", 10)
        on_moto("""
            class Mine(ParallelUpload):
                def uploadSimple(self, driver, src, dst, meta_data={}):
                    return super().uploadSimple(driver, src, dst, {**meta_data, 'mine': '1'})
            Mine(*ACCOUNT).uploadFiles(getFiles('data'), 5)
        """)
        objects = stored(moto, bucket)
        assert [found.metadata["mine"] for found in objects.values()] == ["1"] * 10


class TestParallelUpload:
    def test_async_upload(self, on_moto: Program, work: Path, moto: Moto, bucket: str) -> None:
        make_files(work / "data", 3)
        done = on_moto(
            """
            uploader = ParallelUpload(*ACCOUNT)
            assert uploader.asyncUpload('data/002.txt', 2) == {'success': 'data/002.txt'}
            assert uploader.asyncUpload('data/001.txt') == {'success': 'data/001.txt'}
            assert uploader.asyncUpload('none', 2) == {'error': 'none'}
            """,
            quiet=False,
        )
        assert done.stderr.startswith("none: FileNotFoundError: ")
        objects = stored(moto, bucket)
        assert sorted(objects) == ["data/001.txt", "data/002.txt"]
        assert all("dt" in found.metadata for found in objects.values())

    def test_what_an_async_upload_logs_controls_no_terminal(
        self, on_moto: Program, work: Path
    ) -> None:
        make_files(work / "data", 1)
        done = on_moto(
            r"""
            class Mine(ParallelUpload):
                def uploadSimple(self, *_):
                    raise RuntimeError('\x9b31m\u202e')
            Mine(*ACCOUNT).asyncUpload('data/000.txt')
            """,
            quiet=False,
            PYTHONUTF8="1",
        )
        assert done.stderr == "data/000.txt: RuntimeError: \\x9b31m\\u202e\n"

    def test_make_dummy_file(self, on_moto: Program, work: Path) -> None:
        on_moto("ParallelUpload(*ACCOUNT).makeDummyFile(3)")
        assert (work / "dummy.dat").stat().st_size == 3 * 2**20

    def test_finding_the_number_of_threads_leaves_nothing(
        self, on_moto: Program, work: Path, moto: Moto, bucket: str
    ) -> None:
        (work / "dummy.dat").write_text("the user's own")
        done = on_moto("""
            uploader = ParallelUpload(*ACCOUNT)
            empty = {'path': 'none', 'size': 0}
            assert uploader.findOptimalNoThreads([]) == 1
            assert uploader.findOptimalNoThreads([empty]) == 1
            assert 1 <= uploader.findOptimalNoThreads([empty] * 1000) <= 200
            assert uploader.findOptimalNoThreads([empty, {'path': 'x', 'size': 1}]) in (1, 2)
        """)
        assert done.stdout.splitlines()[1:] == ["findOptimalNoThreads ..."] * 4
        assert keys(moto, bucket) == []
        assert [file.read_text() for file in work.iterdir()] == ["the user's own"]
