# SPDX-License-Identifier: GPL-3.0-or-later
"""An S3 bucket over HTTP, as far as recordings need one: signatures of version 4 are checked before anything is done.

PUT, GET with ranges, HEAD, ListObjectsV2 and multipart uploads (Amazon S3 API Reference); everything else is 501.
"""

from __future__ import annotations

import hashlib
import hmac
import time
import xml.etree.ElementTree as ElementTree
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from uuid import uuid4
from xml.sax.saxutils import escape

ACCESS_KEY, SECRET_KEY, REGION = "AKVOXDP", "a secret of the bucket", "eu-test-1"
DATE = "%a, %d %b %Y %H:%M:%S GMT"


class Bucket:
    """Serves the bucket `name` on a port of loopback, until `away`; objects: key to bytes. requests: what was done."""

    def __init__(self, name: str = "calls") -> None:
        self.name = name
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.requests: list[str] = []
        self.refused = 0
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.open()

    @property
    def environment(self) -> dict[str, str]:
        """How an operator tells where the bucket is, and by which right."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        }

    def open(self) -> None:
        """Listen, where it did before."""
        bucket = self

        class Handler(Request):
            served = bucket

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def away(self) -> None:
        """Refuse connections from now on."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None


class Request(BaseHTTPRequestHandler):
    """One request at a time: its signature, then what it asks."""

    served: Bucket

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        place = urlsplit(self.path)
        query = dict(parse_qsl(place.query, keep_blank_values=True))
        wrong = self._refusal(place.path, query, body)
        if wrong:
            self.served.refused += 1
            self._fail(403, wrong)
            return
        bucket, _, key = unquote(place.path).removeprefix("/").partition("/")
        if bucket != self.served.name:
            self._fail(404, "NoSuchBucket")
            return
        self._carry_out(key, query, body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815 - as http.server calls them

    def log_message(self, *_: object) -> None:
        pass

    def _carry_out(self, key: str, query: dict[str, str], body: bytes) -> None:
        verb, parts = self.command, self.served.uploads.get(query.get("uploadId", ""))
        done = next((word for word in ("list-type", "uploads", "partNumber", "uploadId") if word in query), "object")
        self.served.requests.append(f"{verb} {done}")
        match verb, done:
            case "GET", "list-type":
                self._answer(200, self._listing(query.get("prefix", "")))
            case "PUT", "object":
                self.served.objects[key] = body
                self._answer(200, b"", ETag=_tag(body))
            case "POST", "uploads":
                upload = uuid4().hex
                self.served.uploads[upload] = {}
                self._answer(200, _document("InitiateMultipartUploadResult", UploadId=upload, Key=key))
            case "PUT", "partNumber" if parts is not None:
                parts[int(query["partNumber"])] = body
                self._answer(200, b"", ETag=_tag(body))
            case "POST", "uploadId" if parts is not None:
                self._complete(key, query["uploadId"], body)
            case (("GET" | "HEAD"), "object"):
                self._give(key)
            case _:
                self._fail(501, "NotImplemented")

    def _complete(self, key: str, upload: str, body: bytes) -> None:
        parts = self.served.uploads.pop(upload)
        named = [(int(part[0].text or 0), part[1].text) for part in _sorted_parts(body)]
        if named != [(number, _tag(parts[number])) for number in sorted(parts)]:
            self._fail(400, "InvalidPart")
            return
        self.served.objects[key] = whole = b"".join(parts[number] for number in sorted(parts))
        self._answer(200, _document("CompleteMultipartUploadResult", Key=key, ETag=_tag(whole)))

    def _give(self, key: str) -> None:
        data = self.served.objects.get(key)
        if data is None:
            self._fail(404, "NoSuchKey")
            return
        told = {"ETag": _tag(data), "Last-Modified": time.strftime(DATE, time.gmtime())}
        first, _, last = self.headers.get("range", "").removeprefix("bytes=").partition("-")
        if not first:
            self._answer(200, data, **told)
            return
        begin, end = int(first), min(int(last or len(data)), len(data) - 1)
        told["Content-Range"] = f"bytes {begin}-{end}/{len(data)}"
        self._answer(206, data[begin : end + 1], **told)

    def _listing(self, prefix: str) -> bytes:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>{moment}</LastModified>"
            f"<ETag>{escape(_tag(data))}</ETag><Size>{len(data)}</Size></Contents>"
            for key, data in sorted(self.served.objects.items())
            if key.startswith(prefix)
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>".encode()

    def _refusal(self, path: str, query: dict[str, str], body: bytes) -> str:
        """Why the request is not the owner's; empty: it is. See "Signature Version 4 signing process" of AWS."""
        scheme, _, rest = self.headers.get("authorization", "").partition(" ")
        fields = dict(part.strip().partition("=")[::2] for part in rest.split(","))
        key, _, scope = fields.get("Credential", "").partition("/")
        if scheme != "AWS4-HMAC-SHA256" or key != ACCESS_KEY:
            return "InvalidAccessKeyId"
        digest = self.headers.get("x-amz-content-sha256", "")
        if digest not in ("UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()):
            return "XAmzContentSHA256Mismatch"
        signed = fields.get("SignedHeaders", "")
        headers = "".join(f"{name}:{' '.join(self.headers.get(name, '').split())}\n" for name in signed.split(";"))
        asked = "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in sorted(query.items()))
        request = "\n".join((self.command, path, asked, headers, signed, digest))
        wanted = hashlib.sha256(request.encode()).hexdigest()
        text = "\n".join((scheme, self.headers.get("x-amz-date", ""), scope, wanted))
        signing = f"AWS4{SECRET_KEY}".encode()
        for word in scope.split("/"):
            signing = hmac.digest(signing, word.encode(), "sha256")
        signature = hmac.digest(signing, text.encode(), "sha256").hex()
        right = scope.split("/")[1:] == [REGION, "s3", "aws4_request"]
        return "" if right and hmac.compare_digest(signature, fields.get("Signature", "")) else "SignatureDoesNotMatch"

    def _fail(self, status: int, code: str) -> None:
        self._answer(status, _document("Error", Code=code, Message=code))

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _tag(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'


def _document(name: str, **fields: str) -> bytes:
    inner = "".join(f"<{field}>{escape(value)}</{field}>" for field, value in fields.items())
    return f"<{name}><Bucket>calls</Bucket>{inner}</{name}>".encode()


def _sorted_parts(body: bytes) -> list[list[ElementTree.Element]]:
    """The parts of a CompleteMultipartUpload: (PartNumber, ETag) of each."""
    found = []
    for part in ElementTree.fromstring(body):
        fields = {child.tag.rpartition("}")[2]: child for child in part}
        found.append([fields["PartNumber"], fields["ETag"]])
    return found
