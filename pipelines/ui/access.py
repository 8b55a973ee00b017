"""Who may use the page, and how much of the machine a request may use.

On this machine alone (loopback), a request needs a `Host` of this machine, so that no other site
can reach the page under a name of its own. If others can reach the page, a person opens it once
with the token that `vad ui` prints, and then has a session: a cookie that scripts cannot read and
other sites cannot send.

Every request that changes something must also come from a page of ours: its `Origin`, if it has
one, must be ours, and it has the header `X-Vad` with the secret of the session, which only our
pages know. Browsers do not let other sites send this header.

Headers of proxies (`X-Forwarded-...`) are never believed: `--public` tells the address instead.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import secrets
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Vad"
COOKIE = "vad_session"
SESSION_S = 12 * 3600.0
N_SESSIONS = 1000
BODY_BYTES = 256 * 2**10  # of a request that is no upload
BODY_S = 20.0  # for the whole body of such a request
SILENCE_S = 60.0  # for the next part of an upload, or until a reader takes the next part
UPLOAD_S = 6 * 3600.0  # for a whole upload
OPEN = "/scores/copies/"  # videos of reports: their secret names are the permission
UPLOADS = "/api/videos"

PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "media-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

Answer = TypeVar("Answer")


class Refused(Exception):
    """The error of a request that is refused, with its HTTP status."""

    def __init__(self, status: int, what: str) -> None:
        super().__init__(what)
        self.status = status


def is_loopback(host: str) -> bool:
    """Return True if a host name or address is this machine itself."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass
class Access:
    """The rules by which requests are allowed. public: the address of a proxy before the page."""

    host: str
    public: str = ""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    # of those who opened the page with the token: session -> its end
    sessions: dict[str, float] = field(default_factory=dict)

    @property
    def needs_session(self) -> bool:
        """Return True if other machines can reach the page."""
        return bool(self.public) or not is_loopback(self.host)

    def check(self, scope: Scope) -> str | None:
        """Raise Refused unless a request is allowed. Returns a new session for a request that
        brought the token, else None.
        """
        headers = Headers(scope=scope)
        if "transfer-encoding" in headers and "content-length" in headers:
            raise Refused(400, "a request has a length or chunks, not both")
        asked, method = headers.get("host", ""), scope["method"]
        if method not in ("GET", "HEAD", "POST"):
            raise Refused(405, f"{method} does nothing here")
        if self.public:
            is_ours = asked == urlsplit(self.public).netloc
        else:
            is_ours = self.needs_session or is_loopback(urlsplit(f"//{asked}").hostname or "")
        if not is_ours:
            raise Refused(403, "this page has another address")
        if self.needs_session and not (method != "POST" and scope["path"].startswith(OPEN)):
            given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
            if method == "GET" and _same(given, self.token):
                return self._new_session()
            if not self._has_session(headers):
                raise Refused(403, "open the address that vad ui printed")
        if method == "POST":
            self._check_origin(headers, asked)
        return None

    def _check_origin(self, headers: Headers, asked: str) -> None:
        ours = self.public or f"http://{asked}"
        if headers.get("origin", ours) != ours or headers.get("sec-fetch-site") == "cross-site":
            raise Refused(403, "this request comes from another site")
        if not _same(headers.get(HEADER, ""), self.secret):
            raise Refused(403, f"the header {HEADER} is missing; reload the page")

    def _new_session(self) -> str:
        now = time.time()
        self.sessions = {s: end for s, end in self.sessions.items() if end > now}
        for oldest in sorted(self.sessions, key=self.sessions.__getitem__)[: 1 - N_SESSIONS]:
            del self.sessions[oldest]
        session = secrets.token_urlsafe(32)
        self.sessions[session] = now + SESSION_S
        return session

    def _has_session(self, headers: Headers) -> bool:
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            return False
        given = cookies[COOKIE].value if COOKIE in cookies else ""
        end = next((e for s, e in self.sessions.items() if _same(s, given)), 0.0)
        return end > time.time()

    def cookie(self, session: str) -> str:
        """Return the value of Set-Cookie for a session."""
        secure = "; Secure" if self.public.startswith("https:") else ""
        age = f"Max-Age={SESSION_S:.0f}"
        return f"{COOKIE}={session}; HttpOnly; SameSite=Strict; Path=/; {age}{secure}"


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


class Guard:
    """The ASGI middleware that applies `Access` to every request, limits its body and its time,
    and adds the headers of safe answers.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _add_headers(MutableHeaders(scope=message), scope["path"])
            await _within(SILENCE_S, send(message))

        try:
            session = self._access.check(scope)
            if session:  # the token does not stay in the address
                response = RedirectResponse("/", 303)
                response.headers["Set-Cookie"] = self._access.cookie(session)
                await response(scope, receive, answer)
                return
            await self._app(scope, _Body(scope, receive).receive, answer)
        except Refused as error:
            if started:
                raise
            # the rest of the request is not read
            refused = JSONResponse({"error": str(error)}, error.status, {"Connection": "close"})
            await refused(scope, receive, answer)


class _Body:
    """The body of a request, with limits on its size and its time."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self._is_upload = scope["path"] == UPLOADS and scope["method"] == "POST"
        self._n_bytes = 0
        self._until_s = asyncio.get_running_loop().time() + (
            UPLOAD_S if self._is_upload else BODY_S
        )
        self._is_whole = False

    async def receive(self) -> Message:
        if self._is_whole:  # what follows is the end of the connection, whenever it comes
            return await self._receive()
        left_s = self._until_s - asyncio.get_running_loop().time()
        message = await _within(min(SILENCE_S, max(0.001, left_s)), self._receive())
        self._is_whole = not message.get("more_body", False)
        self._n_bytes += len(message.get("body", b""))
        if not self._is_upload and self._n_bytes > BODY_BYTES:
            raise Refused(413, f"a request has at most {BODY_BYTES:,} bytes")
        return message


async def _within(seconds: float, work: Awaitable[Answer]) -> Answer:
    try:
        return await asyncio.wait_for(work, seconds)
    except TimeoutError:
        raise Refused(408, "the request took too long") from None


def _add_headers(headers: MutableHeaders, path: str) -> None:
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    if not path.startswith(OPEN):  # reports are sandboxed, so to their videos they are others
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers.setdefault("Content-Security-Policy", PAGE_POLICY)
    headers.setdefault("Cache-Control", "no-store")
