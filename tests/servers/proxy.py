"""Stands before a server that speaks HTTP, and lets things go wrong on the way."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class Proxy:
    """
    Passes requests on.

    Attributes:
        strip: Headers that do not arrive, in small letters.
        lose: How many answers to a PUT whose path contains `losing` are not sent back: the request arrives, and then the
            connection ends.
        refuse: With which status and words all requests are answered that would otherwise have been passed on.
    """

    def __init__(self, port: int) -> None:
        self.strip: set[str] = set()
        self.lose = 0
        self.losing = ""
        self.refuse: tuple[int, str] | None = None
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 256 * 1024
            disable_nagle_algorithm = True

            def log_message(self, *_: object) -> None:
                pass

            def handle_one(self) -> None:
                data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if proxy.refuse is not None:
                    status, words = proxy.refuse
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(words)))
                    self.end_headers()
                    self.wfile.write(b"" if self.command == "HEAD" else words.encode())
                    return
                headers = {name: value for name, value in self.headers.items() if name.lower() not in proxy.strip}
                connection = http.client.HTTPConnection("127.0.0.1", port)
                try:
                    connection.request(self.command, self.path, data, headers)
                    answer = connection.getresponse()
                    body = answer.read()
                finally:
                    connection.close()
                if self.command == "PUT" and proxy.lose and proxy.losing in self.path:
                    proxy.lose -= 1
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in {"connection", "transfer-encoding", "content-length"}:
                        self.send_header(name, value)
                length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(body))
                self.send_header("Content-Length", length or "0")
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one  # noqa: N815 - the names of http.server

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
