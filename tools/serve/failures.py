"""The answers that are errors: a status and one line."""

from __future__ import annotations

from http import HTTPStatus

from tools.errors import UserError


class FailedRequest(UserError):  # noqa: N818
    """A request is answered with an error.

    Attributes:
        status: of HTTP.
        text: one line for the client.
        retry_after: seconds after which to try again; None if that does not help.
        closes: whether the connection is closed because the rest of the request is not read.
    """

    def __init__(self, status: HTTPStatus, text: str, *, retry_after: int | None = None, closes: bool = False) -> None:
        """Takes the attributes."""
        super().__init__(text)
        self.status, self.text = status, text
        self.retry_after, self.closes = retry_after, closes


class AbandonedError(UserError):
    """Nobody waits for a result any more."""
