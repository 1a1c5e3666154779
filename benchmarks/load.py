"""Measure a gateway under load: event streams, requests at a steady rate, and a store full of sessions.

`python -m benchmarks.load [--streams 500] [--rate 200] [--seconds 30] [--sessions 10000] [--database URL]`: fills a new
store, starts a real gateway process on it, and asks it from this one as accounts with personal tokens do. First one
request after the other, for what each kind costs; then by the clock, whether earlier requests were answered or not,
each timed from the moment at which it was due. Streams watch sessions that end now and then, and go on to others.
Prints the figures, with the machine's load, and keeps nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from benchmarks import full_store
from benchmarks.wire import Answer, Wire
from gateway.sandbox.consortium import Daemon

GOAL_MS = 100.0  # of 99 in 100 requests
WARM_UP_S = 3.0
OPEN = 20  # sessions that streams watch, all open
ENDINGS_PER_S = 1.0  # of them one is cancelled, another proposed
ALONE = 100  # requests of each kind, one after the other
PLAN = full_store.plan(0).model_dump_json().encode()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--sessions", type=int, default=10_000, help="in the store before the start")
    parser.add_argument("--database", default="", help="an empty PostgreSQL database's URL; else SQLite")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        home, began = Path(place) / "gateway", time.perf_counter()
        full_store.make(home, chosen.sessions, chosen.database)
        say(f"{chosen.sessions} sessions written in {time.perf_counter() - began:.0f} s")
        tokens = full_store.token(home, full_store.CLINICS[0], "analyst"), full_store.overseer(home)
        daemon = Daemon("gateway", ["gateway", "serve"], home)
        try:
            address = daemon.wait_ready()["rest"]
            analyst, overseer = (Wire(address, token) for token in tokens)
            load = Load(analyst, overseer, daemon.pid, chosen.rate, chosen.seconds)
            return asyncio.run(load.run(chosen.streams))
        finally:
            daemon.stop()


class Load:
    """Streams and requests against one gateway, by one party's analyst and by somebody who runs it."""

    def __init__(self, analyst: Wire, overseer: Wire, pid: int, rate: float, seconds: float) -> None:
        self._analyst, self._overseer, self._pid = analyst, overseer, pid
        self._rate, self._seconds = rate, seconds
        self._open: list[str] = []  # sessions
        self._past: list[str] = []
        self._ending: dict[str, float] = {}  # when a session's end was due
        self._streams = self._events = 0
        self._failed: Counter[str] = Counter()
        self._took: defaultdict[str, list[float]] = defaultdict(list)  # seconds
        self._told: list[float] = []  # seconds from an end to its being told to a watcher

    async def run(self, streams: int) -> int:
        """The figures; status 1 if a request failed or the goal is missed."""
        self._past = [one["id"] for one in json.loads((await self._get("/v1/sessions?limit=500")).body)]
        await self._alone()
        for _ in range(OPEN):
            self._open.append(await self._propose())
        watching = [asyncio.create_task(self._watch(number)) for number in range(streams)]
        began = time.perf_counter()
        while self._streams < streams:  # noqa: ASYNC110 - a look now and then is enough
            await asyncio.sleep(0.05)
        say(f"{streams} streams opened in {time.perf_counter() - began:.1f} s")
        ending = asyncio.create_task(self._end_some())
        await self._requests(WARM_UP_S)
        self._took.clear()
        self._told.clear()
        self._events, before = 0, (time.process_time(), computed(self._pid))
        await self._requests(self._seconds)
        spent = time.process_time() - before[0], computed(self._pid) - before[1]
        alive = self._streams
        for task in (ending, *watching):
            task.cancel()
        await asyncio.gather(ending, *watching, return_exceptions=True)
        self._analyst.close()
        self._overseer.close()
        return self._tell(streams, alive, spent)

    async def _alone(self) -> None:
        """What each kind of request costs, beside no load."""
        past = f"/v1/sessions?limit=50&cursor={self._past[-1]}"
        for what, wire, path in (
            ("health", self._analyst, "/v1/health"),
            ("one session", self._analyst, f"/v1/sessions/{self._past[0]}"),
            ("its contract", self._analyst, f"/v1/sessions/{self._past[0]}/contract"),
            ("list, as it comes", self._analyst, "/v1/sessions"),
            ("list, first page of 50", self._analyst, "/v1/sessions?limit=50"),
            ("list, a page further on", self._analyst, past),
            ("list, of one participant", self._analyst, "/v1/sessions?limit=50&participant=clinic-b"),
            ("list, of one state", self._analyst, "/v1/sessions?limit=50&state=cancelled"),
            ("list, of a state that none is in", self._analyst, "/v1/sessions?limit=50&state=running"),
            ("list, of a kind that none is of", self._analyst, "/v1/sessions?limit=50&kind=matching"),
            ("list, of all there is", self._overseer, "/v1/sessions?limit=50"),
            ("list, page of 500", self._analyst, "/v1/sessions?limit=500"),
            ("participants", self._analyst, "/v1/participants"),
            ("console, first page", self._analyst, "/"),
            ("console, participants", self._analyst, "/participants"),
            ("metrics", self._overseer, "/metrics"),
        ):
            took, before = [], computed(self._pid)
            for _ in range(ALONE):
                began = time.perf_counter()
                await self._get(path, wire)
                took.append(time.perf_counter() - began)
            self._tell_alone(what, took, before)
        stream, took, before = await self._analyst.stream(self._hear), [], computed(self._pid)
        for _ in range(ALONE):
            began = time.perf_counter()
            await stream.follow(self._analyst.request("GET", f"/v1/sessions/{self._past[0]}/events"))
            took.append(time.perf_counter() - began)
        stream.close()
        self._tell_alone("a stream of one event", took, before)

    def _hear(self, events: int) -> None:
        self._events += events

    def _tell_alone(self, what: str, took: list[float], before: float) -> None:
        each = 1000 * (computed(self._pid) - before) / ALONE
        say(f"{what}: {1000 * _at(took, 0.5):.1f} ms, at most {1000 * max(took):.1f}; {each:.2f} ms computing")

    async def _requests(self, seconds: float) -> None:
        """By the clock, in turns."""
        kinds: list[tuple[str, Callable[[], Coroutine[Any, Any, Any]]]] = [
            ("session", lambda: self._get(f"/v1/sessions/{secrets.choice(self._past)}")),
            ("session", lambda: self._get(f"/v1/sessions/{secrets.choice(self._open)}")),
            ("contract", lambda: self._get(f"/v1/sessions/{secrets.choice(self._past)}/contract")),
            ("list", lambda: self._get("/v1/sessions?limit=20")),
            ("session", lambda: self._get(f"/v1/sessions/{secrets.choice(self._past)}")),
            ("list of one's", lambda: self._get("/v1/sessions?limit=20&participant=clinic-a")),
            ("participants", lambda: self._get("/v1/participants")),
            ("health", lambda: self._get("/v1/health")),
        ]
        began, asked = time.perf_counter(), set()
        for number in range(int(seconds * self._rate)):
            due = began + number / self._rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            task = asyncio.create_task(self._timed(*kinds[number % len(kinds)], due))
            asked.add(task)
            task.add_done_callback(asked.discard)
        await asyncio.gather(*asked)

    async def _timed(self, kind: str, ask: Callable[[], Coroutine[Any, Any, Any]], due: float) -> None:
        try:
            await ask()
        except (OSError, Refused) as exc:
            self._failed[str(exc) or type(exc).__name__] += 1
        self._took[kind].append(time.perf_counter() - due)

    async def _get(self, path: str, wire: Wire | None = None) -> Answer:
        wire = wire or self._analyst
        return _succeeded(await wire.ask(wire.request("GET", path)), path)

    async def _propose(self) -> str:
        answer = await self._analyst.ask(self._analyst.request("POST", "/v1/sessions", PLAN))
        session: str = json.loads(_succeeded(answer, "a proposal").body)["id"]
        return session

    async def _cancel(self, session: str) -> None:
        path = f"/v1/sessions/{session}/cancel"
        _succeeded(await self._analyst.ask(self._analyst.request("POST", path, b"{}")), "a cancellation")

    async def _end_some(self) -> None:
        """Now and then a session that is watched ends, and another begins."""
        began = time.perf_counter()
        number = 0
        while True:
            number += 1
            due = began + number / ENDINGS_PER_S
            await asyncio.sleep(max(0.0, due - time.perf_counter()))

            async def propose() -> None:
                self._open.append(await self._propose())

            await self._timed("propose", propose, due)
            ended, due = self._open.pop(0), time.perf_counter()
            self._ending[ended] = due
            await self._timed("cancel", lambda ended=ended: self._cancel(ended), due)  # type: ignore[misc]

    async def _watch(self, number: int) -> None:
        """One stream after the other, for ever: of the newest session once one has ended, so that each has as many."""
        is_open = False

        def hear(events: int) -> None:
            nonlocal is_open
            self._hear(events)
            if events and not is_open:
                is_open = True
                self._streams += 1

        stream, session = await self._analyst.stream(hear), self._open[number % len(self._open)]
        try:
            while True:
                answer = await stream.follow(self._analyst.request("GET", f"/v1/sessions/{session}/events"))
                self._streams -= is_open
                is_open = False
                _succeeded(answer, "a stream")
                if due := self._ending.get(session):
                    self._told.append(time.perf_counter() - due)
                session = self._open[-1]
        except (OSError, Refused) as exc:
            self._failed[f"stream: {exc or type(exc).__name__}"] += 1
        finally:
            self._streams -= is_open
            stream.close()

    def _tell(self, streams: int, alive: int, spent: tuple[float, float]) -> int:
        everything = [each for kind in self._took.values() for each in kind]
        for kind, took in sorted(self._took.items()):
            say(f"{kind}: {_figures(took)}")
        say(f"all: {_figures(everything)}")
        say(f"an end, until its watcher has it: {_figures(self._told)}")
        say(
            f"{len(everything) / self._seconds:.0f} requests a second, {alive} of {streams} streams open at the end, "
            f"{self._events} events"
        )
        each = [1000 * seconds / len(everything) for seconds in spent]
        say(f"computed for each request: {each[1]:.2f} ms by the gateway, {each[0]:.2f} ms by this generator")
        for what, count in self._failed.items():
            say(f"{count} FAILED: {what}")
        reached = 1000 * _at(everything, 0.99) < GOAL_MS
        say(f"goal, 99 in 100 requests within {GOAL_MS:.0f} ms: {'reached' if reached else 'missed'}")
        return 0 if reached and not self._failed else 1


class Refused(Exception):
    """An answer that is no success."""


def _succeeded(answer: Answer, what: str) -> Answer:
    """Raises: Refused."""
    if not 200 <= answer.status < 300:
        raise Refused(f"{what}: {answer.status} {answer.body[:200].decode(errors='replace')}")
    return answer


def computed(pid: int) -> float:
    """Seconds that a process has computed so far."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(each.read_text(encoding="ascii").split()[0]) for each in threads) / 1e9


def _at(took: Sequence[float], part: float) -> float:
    return sorted(took)[min(len(took) - 1, int(part * len(took)))]


def _figures(took: Sequence[float]) -> str:
    if not took:
        return "none"
    p50, p99, most = (1000 * _at(took, part) for part in (0.5, 0.99, 1.0))
    return f"{len(took)}, p50 {p50:.1f} ms, p99 {p99:.1f} ms, at most {most:.1f} ms"


def say(text: str) -> None:
    print(f"{text} (load {os.getloadavg()[0]:.1f})", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
