"""A sink that speaks enough S3 to be uploaded to and costs next to nothing: nginx with Lua.

It stores nothing. It reads every body to its end before it answers, as a real server does:
one that answers early makes some clients drop the connection and flatters others.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import time
from pathlib import Path

from .process import Daemon, Server, free_port, request, run
from .shelf import table

MODULES = Path("/usr/lib/nginx/modules")

# client_body_buffer_size: a body of known length gets a buffer of just that length, so the
# limit costs no memory; bodies beyond it go through a temporary file.
CONFIG = """\
%(user)s
daemon off;
worker_processes %(workers)d;
worker_rlimit_nofile %(files)d;
pid nginx.pid;
error_log error.log warn;
load_module %(modules)s/ndk_http_module.so;
load_module %(modules)s/ngx_http_lua_module.so;
events {
    worker_connections 8192;
    multi_accept on;
}
http {
    access_log off;
    lua_shared_dict counts 1m;
    lua_shared_dict seen 32m;
    reset_timedout_connection on;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    scgi_temp_path scgi;
    uwsgi_temp_path uwsgi;
    client_max_body_size 0;
    client_body_buffer_size 64m;
    keepalive_requests 1000000000;
    keepalive_timeout 24h;
    keepalive_time 24h;
    merge_slashes off;
    ssl_certificate cert.pem;
    ssl_certificate_key key.pem;
    default_type application/xml;
    init_by_lua_file objects.lua;
    server {
        listen 127.0.0.1:%(http)d backlog=4096;
        listen 127.0.0.1:%(https)d ssl backlog=4096;
        location / {
            add_header x-amz-checksum-crc64nvme $http_x_amz_checksum_crc64nvme;
            add_header x-amz-checksum-crc32 $http_x_amz_checksum_crc32;
            add_header x-amz-checksum-crc32c $http_x_amz_checksum_crc32c;
            content_by_lua_file s3.lua;
        }
        location = /_counts {
            default_type application/json;
            content_by_lua_file counts.lua;
        }
        location = /_first_put {
            content_by_lua_block { ngx.print(ngx.shared.counts:get("first_put") or "null") }
        }
        location = /_reset {
            content_by_lua_block { ngx.shared.counts:flush_all() ngx.shared.seen:flush_all() }
        }
    }
}
"""

COUNTS = """\
local counts = ngx.shared.counts
local fields = {}
for i, name in ipairs({"puts", "parts", "completes", "bytes"}) do
    fields[i] = string.format('"%s":%.0f', name, counts:get(name) or 0)
end
ngx.print("{", table.concat(fields, ","), "}")
"""

# Runs once for each request, small PUTs first. Its settings are set in front of it: `latency`,
# `md5`, `distinct`, `errors`, `resets`, `held`, `held_size` and `began`.
S3 = """\
local var, counts, method = ngx.var, ngx.shared.counts, ngx.req.get_method()
local NAMESPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'

local function body()
    local data = ngx.req.get_body_data()
    local name = not data and ngx.req.get_body_file()
    if name then
        local file = assert(io.open(name, "rb"))
        data = file:read("*a")
        file:close()
    end
    return data or ""
end

local function escape(text)
    return (text:gsub("[&<>]", {["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;"}))
end

-- Of repetitions of the same work only the first one is new.
local function new(work)
    return not distinct or ngx.shared.seen:add(work, true)
end

-- The objects that the bucket holds: those of a flat tree of bench.data, or of the table.
local function name(number)
    return keys and keys[number + 1] or string.format("%07d.bin", number)
end

-- How many of them do not come after a key.
local function after(key)
    local low, high = 0, held
    while low < high do
        local middle = math.floor((low + high) / 2)
        if name(middle) <= key then low = middle + 1 else high = middle end
    end
    return low
end

ngx.req.read_body()
local args = var.args or ""
local bucket, key = var.uri:match("^/([^/]+)/?(.*)$")
key = key or ""

if errors + resets > 0 and bucket ~= "calm" then
    local chance = math.random()
    if chance < errors then
        ngx.status = 500
        ngx.print("<Error><Code>InternalError</Code><Message>Try again.</Message></Error>")
        return
    elseif chance < errors + resets then
        -- nginx: closes the connection; reset_timedout_connection makes it a reset.
        return ngx.exit(444)
    end
end
if method == "PUT" and key ~= "" and not var.http_x_amz_copy_source then
    -- Of an aws-chunked body count the payload, not its framing.
    local size = tonumber(var.http_x_amz_decoded_content_length or var.content_length)
    local part = args:find("uploadId=", 1, true) and args:match("partNumber=(%d+)")
    if new(var.uri .. " " .. (part or "")) then
        local number = counts:incr(part and "parts" or "puts", 1, 0)
        if number == 1 then
            counts:add("first_put", ngx.now())
        end
        counts:incr("bytes", size or #body(), 0)
    end
    ngx.header.ETag = md5 and '"' .. ngx.md5(body()) .. '"'
        or '"00000000000000000000000000000000"'
end
if latency > 0 then
    ngx.sleep(latency)
end
local object = objects[key]
if method == "PUT" and var.http_x_amz_copy_source then
    ngx.print("<CopyObjectResult", NAMESPACE, "<ETag>&quot;", object[2], "&quot;</ETag>",
        "</CopyObjectResult>")
elseif method == "PUT" then
    ngx.header.content_length = 0
elseif method == "DELETE" then
    ngx.status = 204
elseif method == "HEAD" and object then
    local header = ngx.header
    header.content_length, header.etag = object[1], '"' .. object[2] .. '"'
    header["x-amz-meta-size"], header["x-amz-meta-mtime"] = object[1], object[3]
    header["x-amz-meta-mode"] = object[4]
    header["x-amz-meta-uid"], header["x-amz-meta-gid"] = object[5], object[6]
    header["x-amz-meta-md5chksum"] = object[8]
    header["x-amz-checksum-crc64nvme"] = var.http_x_amz_checksum_mode and object[7]
elseif method == "HEAD" then
    ngx.status = key == "" and 200 or 404
elseif method == "GET" and not bucket then
    ngx.print("<ListAllMyBucketsResult", NAMESPACE, "<Buckets><Bucket><Name>bench</Name>",
        "<CreationDate>2020-01-01T00:00:00.000Z</CreationDate></Bucket></Buckets>",
        "</ListAllMyBucketsResult>")
elseif method == "GET" and key == "" then
    if args:find("location", 1, true) then
        ngx.print("<LocationConstraint", NAMESPACE, "</LocationConstraint>")
    elseif args == "acl=" then
        ngx.print("<AccessControlPolicy", NAMESPACE, "</AccessControlPolicy>")
    elseif args == "policyStatus=" then
        ngx.print("<PolicyStatus", NAMESPACE, "<IsPublic>false</IsPublic></PolicyStatus>")
    else
        local asked = ngx.req.get_uri_args()
        local first = after(asked["continuation-token"] or asked["start-after"] or "")
        local last = math.min(first + 1000, held)
        local rows = {}
        for number = first, last - 1 do
            local object = objects[name(number)] or {held_size, "00000000000000000000000000000000"}
            rows[#rows + 1] = "<Contents><Key>" .. name(number) .. "</Key>"
                .. "<LastModified>" .. began .. "</LastModified>"
                .. '<ETag>"' .. object[2] .. '"</ETag><Size>' .. object[1]
                .. "</Size><StorageClass>STANDARD</StorageClass></Contents>"
        end
        local more = last < held and "true</IsTruncated><NextContinuationToken>" .. name(last - 1)
            .. "</NextContinuationToken>" or "false</IsTruncated>"
        ngx.print("<ListBucketResult", NAMESPACE, "<Name>", escape(bucket or ""), "</Name>",
            "<Prefix></Prefix><KeyCount>", last - first, "</KeyCount><MaxKeys>1000</MaxKeys>",
            "<IsTruncated>", more, table.concat(rows), "</ListBucketResult>")
    end
elseif method == "GET" then
    ngx.status = 404
    ngx.print("<Error><Code>NoSuchKey</Code><Message>A sink keeps nothing.</Message></Error>")
elseif method == "POST" and key ~= "" then
    local target = "<Bucket>" .. escape(bucket) .. "</Bucket><Key>" .. escape(key) .. "</Key>"
    if args:find("uploadId=", 1, true) then
        if new(var.uri .. " complete") then
            counts:incr("completes", 1, 0)
        end
        ngx.print("<CompleteMultipartUploadResult", NAMESPACE, target,
            '<ETag>"00000000000000000000000000000000-1"</ETag></CompleteMultipartUploadResult>')
    else
        ngx.print("<InitiateMultipartUploadResult", NAMESPACE, target,
            "<UploadId>sink", counts:incr("uploads", 1, 0), "</UploadId>",
            "</InitiateMultipartUploadResult>")
    end
else
    ngx.status = 405
end
"""


class Sink(Server):
    """nginx with Lua that counts what it is sent and throws it away, over HTTP and HTTPS.

    Each answer comes `latency` seconds after the whole body. With `etag` "md5" a PUT is
    answered with the true ETag, at the cost of the MD5; with "fixed" always with the same one.
    With `distinct` an object, part or completion that is sent again is not counted again. A share
    of `errors` of the requests is answered by 500, one of `resets` by a reset, and nothing is done
    for these; none in the bucket calm. Listings name `holds` objects of `size` bytes, those of a
    flat tree of bench.data, with the fixed ETag, stored just now; each page has 1,000. With
    `shelf` they are those of the files below a directory, and HEAD tells what the uploader
    and rclone store of each; a copy of one is not counted.
    HTTP is served on `port` and HTTPS on the one above it, by default on free ports. Every
    bucket is there, the one named bench is listed.
    """

    programs = ("nginx", "openssl")
    packages = "nginx-light libnginx-mod-http-lua openssl"

    def __init__(
        self,
        *,
        latency: float = 0.0,
        etag: str = "md5",
        distinct: bool = False,
        errors: float = 0.0,
        resets: float = 0.0,
        holds: int = 0,
        size: int = 0,
        shelf: Path | None = None,
        workers: int = 1,
        port: int = 0,
    ) -> None:
        if etag not in ("md5", "fixed"):
            raise ValueError(f'etag is "md5" or "fixed", not {etag!r}')
        super().__init__()
        self._objects = table(shelf) if shelf else "keys, objects = nil, {}\n"
        held = "#keys" if shelf else holds
        self._settings = (
            f"local latency, errors, resets = {latency:f}, {errors:f}, {resets:f}\n"
            f"local held, held_size, began = {held}, {size}, '{_now()}'\n"
            f"local md5, distinct = {str(etag == 'md5').lower()}, {str(distinct).lower()}\n"
        )
        self._workers = workers
        self._port = port

    @classmethod
    def missing(cls) -> str | None:
        """Return None, or one line saying what is not installed and how to install it."""
        if (MODULES / "ngx_http_lua_module.so").exists():
            return super().missing()
        install = f"apt-get install --no-install-recommends {cls.packages}"
        return f"Sink needs nginx's Lua module: {install}"

    def _start(self, directory: Path, cleanup: contextlib.ExitStack) -> None:
        make_certificate(directory)
        http = self._port or free_port()
        https = self._port + 1 if self._port else free_port()
        (directory / "s3.lua").write_text(self._settings + S3)
        (directory / "counts.lua").write_text(COUNTS)
        (directory / "objects.lua").write_text(self._objects)
        config = directory / "nginx.conf"
        config.write_text(
            CONFIG
            % {
                # Started as root, the workers would run as nobody and not reach the directory.
                "user": "user root;" if os.geteuid() == 0 else "",
                "workers": self._workers,
                "files": min(16384, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
                "modules": MODULES,
                "http": http,
                "https": https,
            }
        )
        argv = ["nginx", "-p", str(directory), "-e", "error.log", "-c", str(config)]
        # TERM: killed with -9, the master leaves its workers behind.
        self._daemon = Daemon(argv, directory / "error.log", death_signal="TERM")
        cleanup.callback(self._daemon.stop)
        self._daemon.wait_until_listening(https)
        self.http = f"http://127.0.0.1:{http}"
        self.https = f"https://127.0.0.1:{https}"
        self.ca_file = str(directory / "ca.pem")

    def counts(self) -> dict[str, int]:
        """Return the objects, parts, completed multiparts and payload bytes since the reset."""
        counts: dict[str, int] = json.loads(request("GET", f"{self.http}/_counts"))
        return counts

    def first_put(self) -> float | None:
        """Return when the first PUT since the reset had arrived, in seconds of the epoch."""
        when: float | None = json.loads(request("GET", f"{self.http}/_first_put"))
        return when

    def reset(self) -> None:
        """Set all counts to zero."""
        request("POST", f"{self.http}/_reset")

    def pids(self) -> list[int]:
        """Return the processes whose CPU time is the sink's: the master, then its workers."""
        return self._daemon.pids()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())


def make_certificate(directory: Path) -> None:
    """Write ca.pem, a new CA, and key.pem and cert.pem for 127.0.0.1 and localhost, signed by it.

    Two certificates, since some clients refuse a CA's own as a server's (rustls does).
    """
    ca, ca_key, key = directory / "ca.pem", directory / "ca-key.pem", directory / "key.pem"
    certificate, request_file = directory / "cert.pem", directory / "request.pem"
    extensions = directory / "extensions"
    extensions.write_text("basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1,DNS:localhost\n")
    new_key = ["-newkey", "rsa:2048", "-nodes"]
    root = ["openssl", "req", "-x509", "-days", "30", "-subj", "/CN=bench CA", *new_key]
    run([*root, "-keyout", str(ca_key), "-out", str(ca)])
    wanted = ["openssl", "req", "-subj", "/CN=localhost", *new_key]
    run([*wanted, "-keyout", str(key), "-out", str(request_file)])
    signed = ["openssl", "x509", "-req", "-days", "30", "-in", str(request_file)]
    signed += ["-CA", str(ca), "-CAkey", str(ca_key), "-CAcreateserial"]
    run([*signed, "-extfile", str(extensions), "-out", str(certificate)])
