"""
A front before fake-gcs-server, which reads objects by Google's XML API and cannot write them by it, as obstore does.

    python gcs_front.py PORT PORT_BEHIND PROGRAM FOLDER

Starts the server behind it and ends it. PUT and DELETE become requests of the JSON API, the parts of an upload are gathered in
memory, and the rest is passed on.
"""

from __future__ import annotations

import http.client
import itertools
import json
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

PORT, BEHIND = int(sys.argv[1]), int(sys.argv[2])
_UPLOADS: dict[str, dict[int, bytes]] = {}
_NUMBERS = itertools.count(1)
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class Front(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An answer leaves in one piece, and at once.
    wbufsize = 256 * 1024
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def do_PUT(self) -> None:
        bucket, key, query = self._target()
        body = self._body()
        if "partNumber" in query:
            _UPLOADS[query["uploadId"]][int(query["partNumber"])] = body
            self._answer(200, {"ETag": f'"{query["partNumber"]}"'})
            return
        self._store(bucket, key, body, self.headers.get("x-goog-if-generation-match"))

    def do_POST(self) -> None:
        if self.path.startswith("/storage/") or not self._target()[1]:
            self._pass_on()
            return
        bucket, key, query = self._target()
        body = self._body()
        if "uploads" in query:
            upload = str(next(_NUMBERS))
            _UPLOADS[upload] = {}
            text = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            self._answer(200, {}, text.encode())
            return
        parts = _UPLOADS.pop(query["uploadId"])
        assert body
        self._store(bucket, key, b"".join(data for _, data in sorted(parts.items())), None, multipart=True)

    def do_DELETE(self) -> None:
        bucket, key, query = self._target()
        if "uploadId" in query:
            _UPLOADS.pop(query["uploadId"], None)
            self._answer(204, {})
            return
        status, _, data = _ask("DELETE", f"/storage/v1/b/{bucket}/o/{quote(key, safe='')}")
        self._answer(204 if status in {200, 204} else status, {}, b"" if status in {200, 204} else data)

    def do_GET(self) -> None:
        self._pass_on()

    def do_HEAD(self) -> None:
        self._pass_on()

    def _store(self, bucket: str, key: str, body: bytes, condition: str | None, *, multipart: bool = False) -> None:
        query = {"uploadType": "multipart", "name": key}
        if condition is not None:
            query["ifGenerationMatch"] = condition
        mark = b"--wwauth-front"
        kind = self.headers.get("Content-Type", "application/octet-stream").encode()
        about = json.dumps({"name": key}).encode()
        data = b"\r\n".join(
            [mark, b"Content-Type: application/json", b"", about, mark, b"Content-Type: " + kind, b"", body, mark + b"--", b""]
        )
        headers = {"Content-Type": "multipart/related; boundary=wwauth-front"}
        status, _, answer = _ask("POST", f"/upload/storage/v1/b/{bucket}/o?{urlencode(query)}", data, headers)
        if status != 200:
            self._answer(status, {}, answer)
            return
        made = json.loads(answer)
        tag = f'"{made["etag"].strip(chr(34))}"'
        text = f"<CompleteMultipartUploadResult><ETag>{tag.replace(chr(34), '&quot;')}</ETag></CompleteMultipartUploadResult>"
        self._answer(200, {"ETag": tag, "x-goog-generation": str(made["generation"])}, text.encode() if multipart else b"")

    def _pass_on(self) -> None:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        connection = http.client.HTTPConnection("127.0.0.1", BEHIND)
        try:
            connection.request(self.command, self.path, self._body() or None, headers)
            answer = connection.getresponse()
            if answer.status == 500 and b"no such file or directory" in (text := answer.read()):
                # A listing of a bucket that is not there, of which Google says so.
                self._answer(404, {}, text)
                return
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP - {"content-length"}:
                    self.send_header(name, value)
            if answer.getheader("Content-Length") is None:
                data = answer.read()
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
                return
            self.end_headers()
            while chunk := answer.read(1024 * 1024):
                self.wfile.write(chunk)
        finally:
            connection.close()

    def _target(self) -> tuple[str, str, dict[str, str]]:
        parts = urlsplit(self.path)
        bucket, _, key = parts.path.removeprefix("/").partition("/")
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        return unquote(bucket), unquote(key), query

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, headers: dict[str, str], data: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _ask(method: str, path: str, data: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, Any, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", BEHIND)
    try:
        connection.request(method, path, data, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def main() -> None:
    program, folder = sys.argv[3:]
    here = f"127.0.0.1:{BEHIND}"
    command = [program, "-scheme", "http", "-host", "127.0.0.1", "-port", str(BEHIND), "-backend", "filesystem"]
    command += ["-filesystem-root", folder, "-external-url", f"http://{here}", "-public-host", here]
    behind = subprocess.Popen(command)
    server = Server(("127.0.0.1", PORT), Front)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    try:
        server.serve_forever()
    finally:
        behind.terminate()
        behind.wait()


if __name__ == "__main__":
    main()
