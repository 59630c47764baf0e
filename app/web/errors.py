"""What can be wrong with a request to the page, each with the HTTP status that says whose move it is."""

from __future__ import annotations

from antiphon.facts import AntiphonError, LocalViolation


class WebExtraMissing(LocalViolation):
    """The page needs packages that are not installed."""

    def __init__(self, package: str) -> None:
        super().__init__(f"the web page needs {package!r}, which is not installed; try: pip install 'antiphon[web]'")


class RequestRefused(AntiphonError):
    """A request that is not answered: ``code`` for programs, ``status`` for HTTP, the text for people."""

    status = 400
    code = "bad_request"


class WrongHost(RequestRefused):
    """The request names another host than this server's: a page of somebody else's may be behind it."""

    status = 421
    code = "wrong_host"


class WrongOrigin(RequestRefused):
    """The request comes from a page that this server did not give out."""

    status = 403
    code = "wrong_origin"


class TokenNeeded(RequestRefused):
    """The request brings no token, or a wrong one."""

    status = 401
    code = "token_needed"


class WrongMethod(RequestRefused):
    """The path knows other methods only."""

    status = 405
    code = "wrong_method"


class NoSuchPath(RequestRefused):
    """Nothing is there."""

    status = 404
    code = "no_such_path"


class BodyTooLarge(RequestRefused):
    """The body is longer than any intent."""

    status = 413
    code = "too_large"


class BodyOfAnotherType(RequestRefused):
    """The body does not say that it is JSON."""

    status = 415
    code = "wrong_type"


class BodyNotJson(RequestRefused):
    """The body is no JSON object."""

    status = 400
    code = "not_json"


class InvalidIntent(RequestRefused):
    """The intent is unknown, or a field of it is missing, unknown or out of range."""

    status = 422
    code = "invalid_intent"
