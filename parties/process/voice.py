"""A session process's side of its standard streams: how far it is, what it is about to disclose, how it ended.

Nothing that it prints reaches anybody but the daemon that started it.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, Protocol

from mpc.errors import CommitmentsDiffer, DisclosureRefused, FrameRefused, PeerLost, PrivityError, TranscriptsDiffer
from parties.process.job import Answer, Broken, DealerJob, Intent, PartyJob, RefusedFrame, Report, parse_job


class Speaking(Protocol):
    """What a run says, and what it is answered."""

    def say(self, report: Report) -> None: ...

    def ask(self, intent: Intent) -> None:
        """Return once it is recorded. Raises: DisclosureRefused."""
        ...

    def request(self, report: Report) -> Answer:
        """The answer to what is to be signed or checked."""
        ...


class Voice:
    """JSON lines to the daemon, and its answers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints goes to the operational log

    def say(self, report: Report) -> None:
        with self._lock:
            self._out.write(report.model_dump_json() + "\n")
            self._out.flush()

    def ask(self, intent: Intent) -> None:
        """Return once the node has recorded the intent. Raises: DisclosureRefused."""
        answer = self.request(intent)
        if answer.refused:
            raise DisclosureRefused(answer.refused, action="nothing was opened; see the node's audit log")

    def request(self, report: Report) -> Answer:
        """The node's answer. Raises: DisclosureRefused if it went away."""
        self.say(report)
        line = sys.stdin.readline()
        if not line:
            raise DisclosureRefused("the node went away before it recorded what was asked; nothing was opened")
        return Answer.model_validate_json(line)


def broken(error: BaseException) -> Broken:
    """An error for the node. What is not one of ours is named by its type alone: its text could hold anything."""
    if isinstance(error, PrivityError):
        what, action, outward = (text[:2000] for text in (error.what, error.action, error.outward))
        said = Broken(code=error.code, what=what, action=action, outward=outward)
        return said.model_copy(update=_evidence(error))
    kind = type(error).__name__
    sentence = f"the worker met an unexpected {kind}"
    return Broken(code="worker", what=sentence, action="see the node's operational log", outward=sentence)


def _evidence(error: PrivityError) -> dict[str, Any]:
    """What an error tells of other participants."""
    match error:
        case PeerLost():
            return {"who": error.who}
        case FrameRefused():
            frame = RefusedFrame(name=error.name, shape=error.shape, expected=error.expected)
            return {"who": error.who, "refused": frame}
        case CommitmentsDiffer():
            return {"who": error.who}
        case TranscriptsDiffer():
            return {"differing": error.parties, "transcript": error.digest.hex()}
    return {}


def live(run: Callable[[PartyJob | DealerJob, Voice], None]) -> None:
    """A session process from its job to its end. Exits 1 if it failed."""
    voice = Voice()
    try:
        run(parse_job(sys.stdin.buffer.readline()), voice)
    except Exception as exc:  # noqa: BLE001 - a process's end: the daemon hears of everything
        voice.say(broken(exc))
        if not isinstance(exc, PrivityError):
            traceback.print_tb(exc.__traceback__)  # places in the code, no values
        sys.stderr.flush()
        os._exit(
            1
        )  # not through what libraries do at their end: others wait for the cause, and would blame one another
