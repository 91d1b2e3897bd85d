"""A web server on this machine whose faults are chosen."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """One file and how it is served.

    Attributes:
        content: the file.
        etag, last_modified: headers; None leaves them out.
        ranges: whether Range is understood.
        checks_condition: whether If-Range is.
        sends_size: whether there is a Content-Length.
        cuts: for the first answers, one each: after how many bytes the connection ends; None for never.
        statuses: for the first answers, one each: an error to answer with; None for none.
        redirect: where to send who asks.
        continues_at: where a range begins instead of where it should.
        seen: the headers of each request.
    """

    content: bytes
    etag: str | None = '"one"'
    last_modified: str | None = None
    ranges: bool = True
    checks_condition: bool = True
    sends_size: bool = True
    cuts: list[int | None] = field(default_factory=list)
    statuses: list[int | None] = field(default_factory=list)
    redirect: str | None = None
    continues_at: int | None = None
    seen: list[dict[str, str]] = field(default_factory=list)
    address: str = ""


class _Handler(BaseHTTPRequestHandler):
    served: dict[str, Served]

    def log_message(self, *arguments):
        pass

    def do_GET(self):  # noqa: N802 - the name that http.server calls
        served = self.served.get(self.path)
        if served is None:
            self.send_error(404)
            return
        served.seen.append(dict(self.headers))
        status = served.statuses.pop(0) if served.statuses else None
        if status is not None:
            self.send_error(status)
            return
        if served.redirect is not None:
            self.send_response(302)
            self.send_header("Location", served.redirect)
            self.end_headers()
            return
        self._send(served)

    def _send(self, served: Served) -> None:
        start, total = self._start(served), len(served.content)
        if start is not None and start >= total:
            self.send_error(416)
            return
        self.send_response(200 if start is None else 206)
        if start is not None:
            first = start if served.continues_at is None else served.continues_at
            self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
        body = served.content[start or 0 :]
        for name, value in (("ETag", served.etag), ("Last-Modified", served.last_modified)):
            if value is not None:
                self.send_header(name, value)
        if served.sends_size:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = served.cuts.pop(0) if served.cuts else None
        self.wfile.write(body[:cut])

    def _start(self, served: Served) -> int | None:
        """Where the answer begins; None for the whole file."""
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked is None or not served.ranges:
            return None
        unchanged = self.headers.get("If-Range") in (None, served.etag, served.last_modified)
        return int(asked[1]) if unchanged or not served.checks_condition else None


@contextmanager
def serving(files: dict[str, Served]) -> Iterator[str]:
    """Serves files by their paths, such as `/a.zip`, and yields the server's address, which each file gets too."""
    handler = type("Handler", (_Handler,), {"served": files})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    for path, served in files.items():
        served.address = address + path
    try:
        yield address
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
