"""A web server that does what real ones do: break off, forget, refuse, deceive."""

import http.server
import re
import time
from dataclasses import dataclass, field

LIMIT = 3 * 512 * 1024  # bytes after which a cut connection breaks off: whole pieces of gdown's


@dataclass
class Site:
    """What the server does. Cuts are spent one an answer; `asked` holds each request's Range."""

    content: bytes = b""
    status: int = 200
    ranges: bool = True
    etag: str = '"1"'
    kind: str = "application/octet-stream"
    cuts: int = 0
    slow: float = 0.0
    heads: bool = True
    drive: str = ""
    asked: list[str | None] = field(default_factory=list)
    sent: int = 0
    url: str = ""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    @property
    def site(self):
        return self.server.site

    def do_HEAD(self):
        self.answer(501 if not self.site.heads else self.site.status, b"", len(self.site.content))

    def do_GET(self):
        site = self.site
        if site.drive and "confirm=t" not in self.path:
            return self.answer(200, site.drive.encode(), kind="text/html; charset=utf-8")
        site.asked.append(self.headers.get("Range"))
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        same = self.headers.get("If-Range") in (None, site.etag)
        if site.status != 200 or not (start and site.ranges and same):
            return self.answer(site.status, site.content)
        first, size = int(start[1]), len(site.content)
        if first >= size:
            return self.answer(416, b"")
        extra = {"Content-Range": f"bytes {first}-{size - 1}/{size}"}
        return self.answer(206, site.content[first:], extra=extra)

    def answer(self, status, body, size=None, kind=None, extra=None):
        site = self.site
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if size is None else size))
        self.send_header("Content-Type", kind or site.kind)
        if site.drive and kind is None:
            self.send_header("Content-Disposition", 'attachment; filename="model_best.pth.tar"')
        for key, value in ({"ETag": site.etag} | (extra or {})).items():
            self.send_header(key, value)
        self.end_headers()
        cut = bool(body) and kind is None and site.cuts > 0
        site.cuts -= cut
        body = body[:LIMIT] if cut else body
        try:
            for start in range(0, len(body), 500_000):
                self.wfile.write(body[start : start + 500_000])
                site.sent += len(body[start : start + 500_000])
                time.sleep(site.slow)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        self.close_connection |= cut
