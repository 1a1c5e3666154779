"""The link in memory keeps what every link promises."""

from contextlib import contextmanager

from mpc.channel import MemoryLink
from tests.contracts.link_suite import LinkSuite


class TestMemoryLink(LinkSuite):
    @contextmanager
    def pair(self):
        yield MemoryLink.pair()
