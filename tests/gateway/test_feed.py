"""What watchers of a session see."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from gateway.feed import Feed, Update, Watcher

SESSION = "a" * 64


def state(name: str, *, final: bool = False) -> Update:
    return Update("state", {"state": name}, final=final)


def progress(iteration: int, loss: float | None = None, who: str = "clinic-a") -> Update:
    return Update("progress", {"who": who, "iteration": iteration, "loss": loss})


async def taken(watcher: Watcher) -> list[Update]:
    return [update async for update in watcher]


def test_nothing_follows_the_end():
    """A stream ends with the final state."""
    watcher = Watcher()
    for update in (state("running"), state("completed", final=True), progress(3)):
        watcher.put(update)
    assert [update.data["state"] for update in asyncio.run(taken(watcher))] == ["running", "completed"]


def test_watchers_see_their_own_session():
    """Updates go to the watchers of their session, to each of them, and to no one who has left."""
    feed = Feed()
    with feed.watch(SESSION) as first, feed.watch(SESSION) as second, feed.watch("b" * 64) as other:
        feed.tell(SESSION, state("completed", final=True))
        feed.close()
        assert len(asyncio.run(taken(first))) == len(asyncio.run(taken(second))) == 1
        assert asyncio.run(taken(other)) == []
    feed.tell(SESSION, state("late"))
    assert feed._watchers == {}


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([None, 0.5]), st.sampled_from(["a", "b"]))))
def test_slow_watcher_misses_no_loss(said: list[tuple[int, float | None, str]]):
    """However slow a watcher is, it sees every loss and everybody's newest progress, and its backlog stays bounded."""
    watcher = Watcher()
    for iteration, loss, who in said:
        watcher.put(progress(iteration, loss, who))
    watcher.put(state("completed", final=True))
    *seen, _ = asyncio.run(taken(watcher))
    shown = {(u.data["iteration"], u.data["loss"], u.data["who"]) for u in seen}
    assert {item for item in said if item[1] is not None} <= shown
    for who in {item[2] for item in said}:
        assert [item for item in said if item[2] == who][-1] in shown
    assert len(seen) <= 2 * 6 + 2
