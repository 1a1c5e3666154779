"""What watchers of a session see."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.coordination.feed import KEPT_SESSIONS, KEPT_UPDATES, Feed, Update, Watcher

SESSION = "a" * 64


def state(name: str, *, final: bool = False) -> Update:
    return Update("state", {"state": name}, final=final)


def progress(iteration: int, loss: float | None = None, who: str = "clinic-a") -> Update:
    return Update("progress", {"who": who, "iteration": iteration, "loss": loss})


NOW = state("running")


async def taken(watcher: Watcher) -> list[Update]:
    """All that it is told, up to the end."""
    found: list[Update] = []
    while not (found and found[-1].final) and (updates := await watcher.take()):
        found += updates
    return found


def test_nothing_follows_the_end():
    """A stream ends with the final state."""
    watcher = Watcher()
    for update in (state("running"), state("completed", final=True), progress(3)):
        watcher.put(update)
    assert [update.data["state"] for update in asyncio.run(taken(watcher))] == ["running", "completed"]


def test_watchers_see_their_own_session():
    """Updates go to the watchers of their session, to each of them, and to no one who has left."""
    feed = Feed()
    with (
        feed.watch(SESSION, NOW) as first,
        feed.watch(SESSION, NOW) as second,
        feed.watch("b" * 64, NOW) as other,
    ):
        feed.tell(SESSION, state("completed", final=True))
        feed.close()
        assert len(asyncio.run(taken(first))) == len(asyncio.run(taken(second))) == 2
        assert [update.data for update in asyncio.run(taken(other))] == [NOW.data]
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


def seen(feed: Feed, last_id: str, present: Update = NOW, session: str = SESSION) -> list[Update]:
    """What a watcher gets at once."""
    with feed.watch(session, present, last_id) as watcher:
        watcher.close()
        return asyncio.run(taken(watcher))


def test_watcher_that_comes_back_gets_what_it_missed():
    """After an id come all updates that were told since, in order, and nothing twice."""
    feed = Feed()
    (first,) = seen(feed, "")
    for update in (progress(1, 0.7), progress(2), progress(3, 0.6), state("failed", final=True)):
        feed.tell(SESSION, update)
    missed = seen(feed, first.id, state("failed", final=True))
    assert [update.data.get("iteration", "failed") for update in missed] == [1, 2, 3, "failed"]
    assert [update.data for update in seen(feed, missed[1].id)] == [update.data for update in missed[2:]]
    assert len({update.id for update in (first, *missed)}) == 5


def test_watcher_that_missed_nothing():
    """It waits for what comes; of a session that is over it sees the end again, and its stream ends."""
    feed = Feed()
    feed.tell(SESSION, progress(1))
    (present,) = seen(feed, "")
    assert seen(feed, present.id) == []
    over = state("completed", final=True)
    feed.tell(SESSION, over)
    (last,) = seen(feed, present.id, over)
    assert [update.data for update in seen(feed, last.id, over)] == [over.data]


@pytest.mark.parametrize("last_id", ["x", "-1", "{life}-", "{life}-99", "{life}--1", "{life}-\u0663", "00000000-0"])
def test_id_that_was_not_given_means_the_present(last_id: str):
    """An id of another process, or of none, is no error: the watcher sees the present state."""
    feed = Feed()
    feed.tell(SESSION, progress(1, 0.5))
    (present,) = seen(feed, "")
    life = present.id.partition("-")[0]
    assert [update.data for update in seen(feed, last_id.format(life=life))] == [NOW.data]


def test_past_is_bounded():
    """Of many sessions the ones that were told last have a past; the others' watchers see the present."""
    feed = Feed()
    (first,) = seen(feed, "")
    feed.tell(SESSION, progress(1, 0.5))
    assert [update.data["iteration"] for update in seen(feed, first.id)] == [1]
    for number in range(KEPT_SESSIONS):
        feed.tell(f"{number:064d}", progress(1))
    assert len(feed._past) == KEPT_SESSIONS
    assert [update.data for update in seen(feed, first.id)] == [NOW.data]


def test_past_of_one_session_is_bounded():
    """A participant that reports without end fills no memory: whoever missed more than is kept sees the present."""
    feed = Feed()
    (first,) = seen(feed, "")
    for number in range(KEPT_UPDATES + 1):
        feed.tell(SESSION, progress(number, 0.5))
    assert [update.data for update in seen(feed, first.id)] == [NOW.data]
    life, _, told = first.id.partition("-")
    assert len(seen(feed, f"{life}-{int(told) + 1}")) == KEPT_UPDATES
