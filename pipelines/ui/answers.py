"""HTTP answers to a browser: JSON, pages, and whole or partial files (RFC 9110, section 14)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path

NOTHING = "default-src 'none'"  # Content-Security-Policy of answers that are not pages
CHUNK_BYTES = 2**20


class Answers(BaseHTTPRequestHandler):
    """A request handler that can send answers. `policy` is the answer's Content-Security-Policy."""

    cookie = ""  # value of Set-Cookie; empty: the header is not sent

    def send_json(self, value: object, status: HTTPStatus = HTTPStatus.OK) -> None:
        """Send a value as JSON."""
        self.send(json.dumps(value).encode(), "application/json", NOTHING, status)

    def send(self, body: bytes, kind: str, policy: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        """Send bytes; `kind` is their media type."""
        self._send_head(status, kind, policy, len(body))
        self.wfile.write(body)

    def send_file(self, path: Path, kind: str, policy: str) -> None:
        """Send a file, or the range of bytes that was requested, in chunks."""
        with path.open("rb") as file:
            n_bytes = os.fstat(file.fileno()).st_size
            asked = parse_range(self.headers.get("Range", ""), n_bytes)
            part = range(n_bytes) if asked is None else asked
            status, about = HTTPStatus.OK, {"Accept-Ranges": "bytes"}
            if asked:
                status = HTTPStatus.PARTIAL_CONTENT
                about["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{n_bytes}"
            elif asked is not None:
                status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
                about["Content-Range"] = f"bytes */{n_bytes}"
            self._send_head(status, kind, policy, len(part), about)
            file.seek(part.start)
            left = len(part)
            while left and (chunk := file.read(min(left, CHUNK_BYTES))):
                self.wfile.write(chunk)
                left -= len(chunk)

    def _send_head(
        self,
        status: HTTPStatus,
        kind: str,
        policy: str,
        n_bytes: int,
        about: Mapping[str, str] | None = None,
    ) -> None:
        headers = {
            "Content-Type": kind,
            "Content-Length": str(n_bytes),
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
            **({"Set-Cookie": self.cookie} if self.cookie else {}),
            **(about or {}),
        }
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def parse_range(header: str, n_bytes: int) -> range | None:
    """Return the bytes of a file that a `Range` header asks for.

        bytes=0-99      0 .. 99
        bytes=100-      from 100 to the end
        bytes=-100      the last 100

    Return None, which means the whole file, if the header is missing or not understood, such as one
    with several ranges. Return an empty range if the file has none of the bytes.
    """
    found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", header.strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        return range(max(0, n_bytes - int(found[2])), n_bytes)
    first, last = int(found[1]), int(found[2] or n_bytes)
    if last < first:
        return None
    return range(min(first, n_bytes), min(last + 1, n_bytes))
