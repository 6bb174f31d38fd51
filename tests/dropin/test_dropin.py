"""The old module's names, examples, and uploads of single files."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.command import keys, names_below, stored, write
from tests.dropin.programs import Program, make_files, program_in
from tests.servers.moto import Moto

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
    def test_it_reads_what_an_object_carries(self, on_moto: Program) -> None:
        """As libcloud gives it; it is no name of the old module, and asked for by its own."""
        on_moto("""
            from uploader import object_stat
            with open('file', 'wb') as file:
                file.write(b'content')
            os.chmod('file', 0o640)
            os.utime('file', ns=(0, 1_700_000_000_000_000_500))
            uploader = BaseUpload(*ACCOUNT)
            uploader.upload('file', 'key')
            meta_data = uploader.driver.get_object(bucket, 'key').meta_data
            for owners in (True, False):
                if not owners:
                    del meta_data['uid'], meta_data['gid']
                found, status = object_stat(meta_data), os.stat('file')
                for name in ('st_size', 'st_mode', 'st_mtime', 'st_mtime_ns'):
                    assert getattr(found, name) == getattr(status, name), (owners, name)
                owner = (status.st_uid, status.st_gid) if owners else (-1, -1)
                assert (found.st_uid, found.st_gid) == owner, owners
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

    def test_it_keeps_its_name_and_files_are_uploaded_beside_it(
        self, program: Program, opening: str, work: Path, tmp_path: Path
    ) -> None:
        """Here as well as in processes of their own."""
        make_files(work / "data", 20)
        store = tmp_path / "store"
        store.mkdir()
        program(
            f"{opening}\n"
            "import providers.base, sys\n"
            "assert providers.base.WHOSE == WHOSE == 'mine'\n"
            "for name, here in ('processes', 0), ('here', 9999):\n"
            "    sys.modules[ParallelUpload.__module__].HERE_FILES = here\n"
            f"    uploader = ParallelUpload(Provider.LOCAL, {str(store)!r}, '', name)\n"
            "    uploader.uploadFiles(getFiles('data/'), 5)\n"
        )
        found = {name: len(names_below(store / name)) for name in ("processes", "here")}
        assert found == {"processes": 20, "here": 20}


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


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Argument -> what ``getFiles`` gives for it, and what it says of it, by one program."""
    base = tmp_path_factory.mktemp("listed")
    program, work = program_in(base, ""), base / "work"
    make_files(work / "tree" / "a" / "b", 2)
    (work / "tree" / "z").write_bytes(b"12345")
    for name in ("f", "data/f", "odd/a\\b"):
        write(work, name, b"")
    make_files(base / "elsewhere", 2)
    (work / "links").mkdir()
    (work / "links" / "file").symlink_to(base / "elsewhere" / "001.txt")
    (work / "links" / "directory").symlink_to(base / "elsewhere")
    (work / "links" / "broken").symlink_to("nowhere")
    (work / "links" / "loop").symlink_to("loop")
    os.mkfifo(work / "links" / "fifo")
    arguments = ["tree/", "data", "./data", "../work", "odd", "links", "none"]
    code = f"from uploader import *\nprint(json.dumps({{a: getFiles(a) for a in {arguments}}}))"
    done = program(code, quiet=False)
    return {**json.loads(done.stdout), "stderr": done.stderr}


class TestGetFiles:
    def test_own_files_come_before_those_below(self, listed: dict[str, Any]) -> None:
        first, *others = listed["tree/"]
        assert first == {"path": "tree/z", "name": "z", "size": 5}
        assert sorted(file["path"] for file in others) == ["tree/a/b/000.txt", "tree/a/b/001.txt"]

    @pytest.mark.parametrize(
        ("directory", "path"),
        [("data", "data/f"), ("./data", "./data/f"), ("../work", "../work/f")],
    )
    def test_the_path_begins_as_given(
        self, listed: dict[str, Any], directory: str, path: str
    ) -> None:
        assert path in [file["path"] for file in listed[directory]]

    def test_backslashes_become_slashes(self, listed: dict[str, Any]) -> None:
        assert listed["odd"] == [{"path": "odd/a/b", "name": "a\\b", "size": 0}]

    def test_links(self, listed: dict[str, Any]) -> None:
        """To files they count, to directories and to nothing not."""
        assert listed["links"] == [{"path": "links/file", "name": "file", "size": 1}]

    def test_a_missing_directory_has_no_files(self, listed: dict[str, Any]) -> None:
        assert listed["none"] == []
        assert listed["stderr"] == "getFiles: none: No such file or directory\n"


class TestTimed:
    def test_arguments_name_and_value_pass_and_milliseconds_are_since_the_epoch(
        self, program: Program
    ) -> None:
        done = program(
            "from uploader import *\n"
            "@timed\n"
            "def work(a, *, b):\n"
            "    'Works.'\n"
            "    return a + b\n"
            "assert (work.__name__, work.__doc__) == ('work', 'Works.')\n"
            "assert work(1, b=2) == 3\n"
            "before, now, after = time.time(), current_milli_time(), time.time()\n"
            "assert isinstance(now, int) and int(before * 1000) <= now <= after * 1000 + 1\n"
        )
        assert re.fullmatch(r"work: \d+ ms\n", done.stdout)


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

    def test_a_large_file_goes_in_parts_whether_or_not_its_size_is_told(
        self, on_moto: Program, work: Path, moto: Moto, bucket: str
    ) -> None:
        with (work / "large").open("wb") as file:
            file.truncate(51 * 2**20)
        done = on_moto("""
            uploader = BaseUpload(*ACCOUNT)
            print(uploader.upload('large', 'asked', {'dt': 'now'}).size)
            print(uploader.upload('large', 'told', {'dt': 'now'}, os.path.getsize('large')).size)
        """)
        assert done.stdout.split()[-2:] == [str(51 * 2**20)] * 2
        for key in ("asked", "told"):
            head = moto.boto3().head_object(Bucket=bucket, Key=key)
            assert head["ETag"].endswith('-11"'), key
            assert head["Metadata"]["dt"] == "now", key
            assert head["Metadata"]["size"] == str(head["ContentLength"]) == str(51 * 2**20), key

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
