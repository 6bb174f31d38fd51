"""The old module's face: programs written for it, run as they are.

Each program is a process of its own, because importing ``uploader`` patches the process.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from bench.network import Network
from tests.command import MIB, keys, names_below, new_bucket, stored, write
from tests.conftest import REPO
from tests.servers import require
from tests.servers.azurite import Azurite
from tests.servers.moto import Moto
from tests.servers.s3 import FakeS3

TIMEOUT = 60.0
SECRET = "a-secret-that-nobody-may-see"
OLD_NAMES = {
    *("gevent", "monkey", "Pool", "json", "os", "math", "time", "datetime", "libcloud"),
    *("Provider", "get_driver", "getFiles", "current_milli_time", "timed"),
    *("BaseUpload", "ParallelUpload"),
}

LINEAR_EXAMPLE = '''\
from uploader import *

"""
  provider: of type libcloud.storage.types.Provider
  key: cloud storage API key
  secret: cloud storage API secret
  container_name: bucket name, will be created if does not exist
"""
@timed
def test_linear_upload(provider, key, secret, container_name):
    print('test_linear_upload')
    uploader = BaseUpload(provider, key, secret, container_name)
    for file in getFiles('data/')[:20]: # provide location & get first 20 files
        path = file['path']
        meta = {'dt': str(datetime.datetime.now(datetime.timezone.utc)) }
        obj = uploader.upload(path, path, meta, file['size'])
        # print(path)

    uploader.saveMeta()

if __name__ == "__main__":
  test_linear_upload(Provider.S3, 'your_key', 'your_secret', 'your_bucket_name')
'''
PARALLEL_EXAMPLE = '''\
from uploader import *

"""
  provider: of type libcloud.storage.types.Provider
  key: cloud storage API key
  secret: cloud storage API secret
  container_name: bucket name, will be created if does not exist
"""
@timed
def test_parallel_upload(provider, key, secret, container_name):
    print('test_parallel_upload')
    files = getFiles('data/')[:20] # provide location & get first 20 files
    uploader = ParallelUpload(provider, key, secret, container_name)
    poolsize = 20
    # poolsize = uploader.findOptimalNoThreads(files) # this op may take several seconds
    uploader.uploadFiles(files, poolsize)

    uploader.saveMeta()

if __name__ == "__main__":
  test_parallel_upload(Provider.S3, 'your_key', 'your_secret', 'your_bucket_name')
'''
OPENING = """\
import sys
from uploader import *
bucket, = sys.argv[1:]
ACCOUNT = (Provider.S3, 'testaccesskey', 'testsecretkey', bucket)
"""
"""What most programs here begin with."""
THROUGH_PROCESSES = """\
import _uploader.dropin.engines
_uploader.dropin.engines.HERE_FILES = 50
"""
"""Makes a list of 60 files a long one."""

Program = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def bucket() -> str:
    return new_bucket()


@pytest.fixture
def program(tmp_path: Path, bucket: str) -> Program:
    """Runs code in the working directory ``work``; every warning in it is an error."""
    (tmp_path / "work").mkdir()

    def run(code: str, *, quiet: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "program.py"
        file.write_text(code)
        done = subprocess.run(
            [sys.executable, str(file), bucket],
            cwd=tmp_path / "work",
            env={
                **os.environ,
                "PYTHONPATH": str(REPO),
                "PYTHONWARNINGS": "error",
                "AWS_EC2_METADATA_DISABLED": "true",
                **variables,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        assert done.returncode == 0, done.stderr
        assert not quiet or done.stderr == ""
        return done

    return run


@pytest.fixture
def on_moto(program: Program, moto: Moto) -> Program:
    """Runs code after ``OPENING``, with moto as the service."""

    def run(code: str, *, quiet: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        variables = {"AWS_ENDPOINT_URL": moto.endpoint, **variables}
        return program(OPENING + dedent(code), quiet=quiet, **variables)

    return run


@pytest.fixture
def work(tmp_path: Path, program: Program) -> Path:
    """The working directory of the program."""
    return tmp_path / "work"


def make_files(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number:03}.txt").write_bytes(b"x" * number)


class TestNames:
    def test_a_star_import_gives_the_old_names_and_no_others(self, program: Program) -> None:
        code = "before = set(globals())\nfrom uploader import *\n"
        code += "print(*(set(globals()) - before - {'before'}))"
        assert set(program(code).stdout.split()) == OLD_NAMES

    def test_they_are_what_they_were(self, program: Program) -> None:
        program(
            "from uploader import *\n"
            "import types, gevent.pool, libcloud.storage.types, libcloud.storage.providers\n"
            "assert Pool is gevent.pool.Pool and isinstance(datetime, types.ModuleType)\n"
            "assert Provider is libcloud.storage.types.Provider\n"
            "assert get_driver is libcloud.storage.providers.get_driver\n"
            "assert issubclass(ParallelUpload, BaseUpload)\n"
            "assert monkey.is_module_patched('socket') and monkey.is_module_patched('threading')\n"
        )


class TestObjectStat:
    @pytest.mark.parametrize("owners", [True, False])
    def test_it_reads_what_an_object_carries(self, on_moto: Program, owners: bool) -> None:
        """As libcloud gives it; it is no name of the old module, and asked for by its own."""
        on_moto(f"""
            from uploader import object_stat
            with open('file', 'wb') as file:
                file.write(b'content')
            os.chmod('file', 0o640)
            os.utime('file', ns=(0, 1_700_000_000_000_000_500))
            uploader = BaseUpload(*ACCOUNT)
            uploader.upload('file', 'key')
            meta_data = uploader.driver.get_object(bucket, 'key').meta_data
            if not {owners}:
                del meta_data['uid'], meta_data['gid']
            found, status = object_stat(meta_data), os.stat('file')
            for name in ('st_size', 'st_mode', 'st_mtime', 'st_mtime_ns'):
                assert getattr(found, name) == getattr(status, name), name
            owner = (status.st_uid, status.st_gid) if {owners} else (-1, -1)
            assert (found.st_uid, found.st_gid) == owner
        """)


class TestOwnPackage:
    """The program has a package of its own that is called ``providers``, too."""

    @pytest.fixture(params=["before", "after"])
    def opening(self, request: pytest.FixtureRequest, tmp_path: Path) -> str:
        """Imports both, the own one before or after the module."""
        for name, text in (("__init__", ""), ("base", "WHOSE = 'mine'\n")):
            write(tmp_path, f"providers/{name}.py", text.encode())
        imports = ["from providers.base import WHOSE", "from uploader import *"]
        if request.param == "after":
            imports.reverse()
        return "\n".join(imports)

    def test_it_keeps_its_name(self, program: Program, opening: str) -> None:
        program(f"{opening}\nimport providers.base\nassert providers.base.WHOSE == WHOSE == 'mine'")

    @pytest.mark.parametrize("here", [0, 9999], ids=["processes", "here"])
    def test_files_are_uploaded_beside_it(
        self, program: Program, opening: str, work: Path, tmp_path: Path, here: int
    ) -> None:
        make_files(work / "data", 20)
        store = tmp_path / "store"
        store.mkdir()
        program(
            f"{opening}\nimport sys\n"
            f"sys.modules[ParallelUpload.__module__].HERE_FILES = {here}\n"
            f"uploader = ParallelUpload(Provider.LOCAL, {str(store)!r}, '', 'bucket')\n"
            "uploader.uploadFiles(getFiles('data/'), 5)\n"
        )
        assert len(names_below(store / "bucket")) == 20


class TestExamples:
    """README's programs, word by word."""

    def run(
        self, example: str, program: Program, work: Path, moto: Moto, bucket: str
    ) -> subprocess.CompletedProcess[str]:
        make_files(work / "data" / "sub", 25)
        code = example.replace("your_key", moto.access_key)
        code = code.replace("your_secret", moto.secret_key).replace("your_bucket_name", bucket)
        return program(code, AWS_ENDPOINT_URL=moto.endpoint)

    def check(self, work: Path, moto: Moto, bucket: str) -> None:
        objects = stored(moto, bucket)
        assert len(objects) == 20
        for key, found in objects.items():
            status = (work / key).stat()
            seconds, nanoseconds = divmod(status.st_mtime_ns, 10**9)
            dt = found.metadata.pop("dt")
            assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+\+00:00", dt)
            assert found.metadata == {
                "size": str(status.st_size),
                "mtime": f"{seconds}.{nanoseconds:09}",
                "mode": f"0{status.st_mode:o}",
                "uid": str(status.st_uid),
                "gid": str(status.st_gid),
            }
            assert found.size == status.st_size
            assert found.content_type == "text/plain"
        meta = json.loads((work / "meta.json").read_text())
        assert set(meta) == set(objects)
        assert sorted(os.listdir(work)) == ["data", "meta.json"]

    def test_linear(self, program: Program, work: Path, moto: Moto, bucket: str) -> None:
        done = self.run(LINEAR_EXAMPLE, program, work, moto, bucket)
        pattern = r"test_linear_upload\ncreating container\.\.\.\ntest_linear_upload: \d+ ms\n"
        assert re.fullmatch(pattern, done.stdout)
        self.check(work, moto, bucket)

    def test_parallel(self, program: Program, work: Path, moto: Moto, bucket: str) -> None:
        done = self.run(PARALLEL_EXAMPLE, program, work, moto, bucket)
        assert re.fullmatch(
            r"test_parallel_upload\ncreating container\.\.\.\npoolsize: 20\n"
            r"uploadFiles: \d+ ms\ntest_parallel_upload: \d+ ms\n",
            done.stdout,
        )
        self.check(work, moto, bucket)


class TestGetFiles:
    def listed(self, program: Program, argument: str) -> list[dict[str, object]]:
        code = f"from uploader import *\nprint(json.dumps(getFiles({argument!r})))"
        found: list[dict[str, object]] = json.loads(program(code).stdout)
        return found

    def test_own_files_come_before_those_below(self, program: Program, work: Path) -> None:
        make_files(work / "data" / "a" / "b", 2)
        (work / "data" / "z").write_bytes(b"12345")
        found = self.listed(program, "data/")
        assert found[0] == {"path": "data/z", "name": "z", "size": 5}
        assert sorted(str(file["path"]) for file in found[1:]) == [
            "data/a/b/000.txt",
            "data/a/b/001.txt",
        ]

    @pytest.mark.parametrize(
        ("directory", "path"),
        [("data", "data/f"), ("./data", "./data/f"), ("../work", "../work/f")],
    )
    def test_the_path_begins_as_given(
        self, program: Program, work: Path, directory: str, path: str
    ) -> None:
        (work / directory).mkdir(exist_ok=True)
        (work / directory / "f").touch()
        assert path in [file["path"] for file in self.listed(program, directory)]

    def test_backslashes_become_slashes(self, program: Program, work: Path) -> None:
        (work / "a\\b").touch()
        assert self.listed(program, ".") == [{"path": "./a/b", "name": "a\\b", "size": 0}]

    def test_links(self, program: Program, work: Path) -> None:
        """To files they count, to directories and to nothing not."""
        data = work / "data"
        make_files(work / "elsewhere", 2)
        data.mkdir()
        (data / "file").symlink_to(work / "elsewhere" / "001.txt")
        (data / "directory").symlink_to(work / "elsewhere")
        (data / "broken").symlink_to("nowhere")
        (data / "loop").symlink_to("loop")
        os.mkfifo(data / "fifo")
        assert self.listed(program, "data") == [{"path": "data/file", "name": "file", "size": 1}]

    def test_a_missing_directory_has_no_files(self, program: Program) -> None:
        done = program("from uploader import *\nassert getFiles('none') == []", quiet=False)
        assert done.stderr == "getFiles: none: No such file or directory\n"


class TestTimed:
    def test_arguments_name_and_value_pass(self, program: Program) -> None:
        done = program(
            "from uploader import *\n"
            "@timed\n"
            "def work(a, *, b):\n"
            "    'Works.'\n"
            "    return a + b\n"
            "assert (work.__name__, work.__doc__) == ('work', 'Works.')\n"
            "assert work(1, b=2) == 3\n"
        )
        assert re.fullmatch(r"work: \d+ ms\n", done.stdout)

    def test_milliseconds_since_the_epoch(self, program: Program) -> None:
        program(
            "from uploader import *\n"
            "before, now, after = time.time(), current_milli_time(), time.time()\n"
            "assert isinstance(now, int) and int(before * 1000) <= now <= after * 1000 + 1\n"
        )


class TestBaseUpload:
    def test_attributes(self, on_moto: Program) -> None:
        on_moto("""
            for kind in BaseUpload, ParallelUpload:
                uploader = kind(*ACCOUNT)
                assert uploader.provider == 's3' and uploader.key == 'testaccesskey'
                assert uploader.secret == 'testsecretkey' and uploader.container_name == bucket
                assert uploader.factory is get_driver(Provider.S3)
                assert isinstance(uploader.driver, libcloud.storage.base.StorageDriver)
                assert uploader.initDriver() is not uploader.driver
                assert uploader.container.name == uploader.initContainer(bucket).name == bucket
        """)

    def test_a_bucket_is_created_once(self, on_moto: Program, moto: Moto, bucket: str) -> None:
        done = on_moto("BaseUpload(*ACCOUNT)\nBaseUpload(*ACCOUNT)")
        assert done.stdout == "creating container...\n"
        assert keys(moto, bucket) == []

    def test_the_region_comes_with_the_provider(self, on_moto: Program) -> None:
        on_moto(
            """
            def region(provider):
                return BaseUpload(provider, *ACCOUNT[1:]).driver.region_name
            assert region(Provider.S3_EU_WEST) == 'eu-west-1'
            assert region(Provider.S3) == 'ap-south-1'
            os.environ.pop('AWS_REGION')
            assert region(Provider.S3) == 'us-east-1'
            """,
            AWS_REGION="ap-south-1",
        )

    def test_every_way_to_upload_one_file(
        self, on_moto: Program, work: Path, moto: Moto, bucket: str
    ) -> None:
        (work / "file.json").write_bytes(b"content")
        on_moto("""
            uploader = BaseUpload(*ACCOUNT)
            driver = uploader.initDriver()
            meta = {'Note': 'n', 'SIZE': 'mine'}
            objects = [
                uploader.upload('file.json', 'upload', meta, 7),
                uploader.uploadSimple(driver, 'file.json', 'simple', meta),
                uploader.uploadMultiPart(driver, 'file.json', './multi//part', meta_data=meta),
            ]
            driver.close()
            assert meta == {'Note': 'n', 'SIZE': 'mine'}
            assert [type(o) for o in objects] == [libcloud.storage.base.Object] * 3
            print(*(o.name for o in objects))
            uploader.upload('file.json', 'plain')
            again = uploader.upload('file.json', 'plain again')
            assert 'note' not in again.meta_data
        """)
        objects = stored(moto, bucket)
        assert sorted(objects) == ["./multi//part", "plain", "plain again", "simple", "upload"]
        for key in ("./multi//part", "simple", "upload"):
            metadata = objects[key].metadata
            assert (metadata["note"], metadata["size"], objects[key].size) == ("n", "mine", 7)
            assert set(metadata) == {"note", "size", "mtime", "mode", "uid", "gid"}
        assert objects["plain"].metadata["size"] == "7"

    @pytest.mark.parametrize("filesize", ["", ", filesize=os.path.getsize('large')"])
    def test_a_large_file_goes_in_parts(
        self, on_moto: Program, work: Path, moto: Moto, bucket: str, filesize: str
    ) -> None:
        with (work / "large").open("wb") as file:
            file.truncate(51 * 2**20)
        code = (
            f"print(BaseUpload(*ACCOUNT).upload('large', 'large', {{'dt': 'now'}}{filesize}).size)"
        )
        assert on_moto(code).stdout.split()[-1] == str(51 * 2**20)
        head = moto.boto3().head_object(Bucket=bucket, Key="large")
        assert head["ETag"].endswith('-11"')
        assert head["Metadata"]["dt"] == "now"
        assert head["Metadata"]["size"] == str(head["ContentLength"]) == str(51 * 2**20)

    def test_what_may_succeed_later_is_tried_again(
        self, on_moto: Program, work: Path, moto: Moto, bucket: str
    ) -> None:
        (work / "file").touch()
        on_moto("""
            from providers.errors import Rejected, Transient
            uploader = BaseUpload(*ACCOUNT)
            upload, failures = uploader.driver.upload_object, [Rejected('no'), Transient('busy')]
            def unreliable(*args, **kwargs):
                if failures:
                    raise failures.pop()
                return upload(*args, **kwargs)
            uploader.driver.upload_object = unreliable
            try:
                uploader.upload('file', 'file')
            except Rejected:
                assert failures == []
            assert uploader.upload('file', 'file').name == 'file'
        """)
        assert keys(moto, bucket) == ["file"]

    def test_a_service_out_of_reach(self, on_moto: Program) -> None:
        """Also of libcloud's own connections nothing is left that could complain."""
        on_moto("""
            class Away(BaseUpload):
                def initDriver(self):
                    return self.factory(self.key, self.secret, host='127.0.0.1', port=9)
            for kind in Away, BaseUpload:
                os.environ['AWS_ENDPOINT_URL'] = 'ftp://nonsense'
                try:
                    kind(*ACCOUNT)
                except Exception as error:
                    print(type(error).__name__)
        """)

    def test_a_missing_file_is_told_as_ever(self, on_moto: Program) -> None:
        on_moto("""
            try:
                BaseUpload(*ACCOUNT).upload('none', 'none')
            except FileNotFoundError as error:
                assert error.filename == 'none'
        """)

    def test_the_list_of_the_bucket(
        self, on_moto: Program, work: Path, moto: Moto, bucket: str
    ) -> None:
        on_moto("BaseUpload(*ACCOUNT).saveMeta()")
        assert json.loads((work / "meta.json").read_text()) == {}
        moto.boto3().put_object(Bucket=bucket, Key='a "quoted" ü', Body=b"12345")
        moto.boto3().put_object(Bucket=bucket, Key="b", Body=b"")
        on_moto("BaseUpload(*ACCOUNT).saveMeta()")
        text = (work / "meta.json").read_text()
        meta = json.loads(text)
        assert text == json.dumps(meta, indent=4)
        assert list(meta) == ['a "quoted" ü', "b"]
        assert list(meta["b"]) == ["size", "modified", "acl"]
        assert [entry["size"] for entry in meta.values()] == [5, 0]
        assert re.match(r"\d{4}-\d\d-\d\dT", meta["b"]["modified"])
        assert meta["b"]["acl"] is None


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
