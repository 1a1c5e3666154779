"""HTTP/1.1 as uvicorn speaks it; what can't be read as HTTP gets an answer of ours, and nothing after it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from http import HTTPStatus

import h11
from starlette.responses import Response
from uvicorn.protocols.http.h11_impl import H11Protocol

Refusal = Callable[[HTTPStatus], Response]  # by what is wrong: 400, or 431 for a head that does not end


def answering(refusal: Refusal) -> type[H11Protocol]:
    """The protocol for a server whose application never sees such a request."""

    class Answering(H11Protocol):
        def send_400_response(self, msg: str) -> None:
            """Called where the error is handled, whose hint says which status fits."""
            if self.cycle is not None and not self.cycle.response_complete:
                self.cycle.disconnected = True  # what the application says of the part before has no place any more
                self.cycle.message_event.set()
            if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
                hint = getattr(sys.exception(), "error_status_hint", HTTPStatus.BAD_REQUEST)
                self._send(refusal(HTTPStatus(hint)))
            self.transport.close()

        def _send(self, answer: Response) -> None:
            headers = [*answer.raw_headers, (b"connection", b"close")]
            status = HTTPStatus(answer.status_code)
            head = h11.Response(status_code=status, headers=headers, reason=status.phrase.encode())
            for event in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")

    return Answering
