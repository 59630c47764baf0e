"""Who may ask: every request is checked first, and every answer tells browsers what not to do.

Knows no signals and no intents. Wraps any ASGI application.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from types import MappingProxyType
from urllib.parse import parse_qsl

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .address import WebAddress
from .errors import RequestRefused, TokenNeeded, WrongHost, WrongOrigin

# Scripts, styles and connections of this server only, nothing inline, no plug-ins, no frames around it; and Chromium
# refuses any script that would write markup instead of text.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "content-security-policy": POLICY,
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=()",
        "cache-control": "no-store",
    }
)
_SAFE_METHODS = frozenset({"GET", "HEAD"})
# As browsers tell who asks: the page itself, or a person who typed the address.
_OWN_SITES = frozenset({"same-origin", "none"})


class Guard:
    """Refuses requests with another host, from another page, or without the token, when there is one.

    The token comes in the URL once; it is kept in a cookie that scripts cannot read, and the URL is cleaned.
    """

    def __init__(self, app: ASGIApp, *, address: Callable[[], WebAddress], token: str | None) -> None:
        self._app = app
        self._address = address
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        careful = _with_headers(send)
        try:
            is_new = self._check(scope)
        except RequestRefused as problem:
            await refusal(problem)(scope, receive, careful)
            return
        if is_new:
            await self._welcome()(scope, receive, careful)
            return
        await self._app(scope, receive, careful)

    def _check(self, scope: Scope) -> bool:
        """Whether the token came in the URL. Raises ``RequestRefused``."""
        headers = _single_headers(scope)
        host, address = headers.get("host", ""), self._address()
        if not address.accepts(host):
            raise WrongHost(f"this server is {address.authority}, and the request asks for {host[:100]!r}")
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise WrongOrigin(f"requests from {origin[:100]!r} are not answered; open http://{host}/ instead")
        # A link from elsewhere may lead to the page itself; nothing else is for others, not even to hold a connection.
        is_visit = scope["path"] == "/" and scope["method"] in _SAFE_METHODS
        if site not in _OWN_SITES and not is_visit:
            raise WrongOrigin(f"{site[:20]} requests are not answered; open http://{host}/ instead")
        return self._check_token(scope, headers)

    def _check_token(self, scope: Scope, headers: Mapping[str, str]) -> bool:
        if self._token is None:
            return False
        given = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"))).get("token")
        if given is not None and hmac.compare_digest(given.encode(), self._token.encode()):
            return bool(scope["path"] == "/")
        try:
            kept = SimpleCookie(headers.get("cookie", "")).get(self._cookie_name)
        except CookieError:
            kept = None
        if kept is None or not hmac.compare_digest(kept.value.encode(), self._token.encode()):
            raise TokenNeeded("open the address that the server wrote when it started, with its token")
        return False

    @property
    def _cookie_name(self) -> str:
        """Cookies know no ports; several servers of one host must not take each other's."""
        return f"antiphon_{self._address().port}"

    def _welcome(self) -> RedirectResponse:
        assert self._token is not None, "only a token brings a newcomer"
        answer = RedirectResponse("/", status_code=303)
        answer.set_cookie(self._cookie_name, self._token, httponly=True, samesite="strict", path="/")
        return answer


def refusal(problem: RequestRefused) -> JSONResponse:
    """What is answered instead."""
    return JSONResponse({"error": {"code": problem.code, "text": str(problem)}}, status_code=problem.status)


def _single_headers(scope: Scope) -> Mapping[str, str]:
    """The headers; of a repeated one all values, so that no check sees only the first."""
    found: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        found[name] = f"{found[name]}; {value}" if name in found else value
    return found


def _with_headers(send: Send) -> Send:
    async def careful(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return careful
