"""The stream to the gateway: it introduces the daemon, loses nothing, comes back, and believes only the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc
import pytest

from parties.errors import GatewayError, PartnerError
from parties.keys.identity import Identity, unseal
from parties.keys.tls import Invitation, TlsKey, certificate_sha256, utc_now
from parties.service.control import OPTIONS, ControlStream
from parties.service.home import Home, init
from parties.service.messages import (
    INTRODUCTION_TYPE,
    MAX_MESSAGE_BYTES,
    SERVICE,
    STREAM,
    Fault,
    FromDaemon,
    Head,
    Hello,
    Introduction,
    Publish,
    Rejected,
    Stop,
    Waiting,
    Welcome,
    decode_from_daemon,
    encode,
)

DEADLINE_S = 30
SESSION = "ab" * 32
FAULT = Fault(code="partner", who="gateway", what="who are you", action="call")


class Gateway:
    """One end of the control stream over real mutual TLS: says what a test tells it to, keeps what comes."""

    def __init__(self, key: TlsKey, invitation: Invitation) -> None:
        self.key, self._invitation = key, invitation
        self.heard: asyncio.Queue[FromDaemon] = asyncio.Queue()
        self.said: asyncio.Queue[bytes | None] = asyncio.Queue()  # None ends the stream
        self.shown = ""

    async def start(self, port: int = 0) -> int:
        self._server = grpc.aio.server(options=OPTIONS)
        handler = grpc.stream_stream_rpc_method_handler(self._attend)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {STREAM: handler}),))
        credentials = grpc.ssl_server_credentials(
            [(self.key.key_pem, self.key.certificate.encode())],
            self._invitation.authority(utc_now()).encode(),
            require_client_auth=True,
        )
        port = self._server.add_secure_port(f"127.0.0.1:{port}", credentials)
        await self._server.start()
        return port

    async def stop(self) -> None:
        await self._server.stop(0)

    async def _attend(self, requests: AsyncIterator[bytes], context) -> AsyncIterator[bytes]:
        self.shown = context.auth_context()["x509_pem_cert"][0].decode()
        reader = asyncio.create_task(self._hear(requests))
        yield encode(Welcome(gateway="gateway"))
        while (content := await self.said.get()) is not None:
            yield content
        reader.cancel()

    async def _hear(self, requests: AsyncIterator[bytes]) -> None:
        async for content in requests:
            await self.heard.put(decode_from_daemon(content))

    async def next(self) -> FromDaemon:
        return await asyncio.wait_for(self.heard.get(), DEADLINE_S)

    async def introduced(self) -> Introduction:
        """The daemon's first message and its greetings."""
        hello = await self.next()
        assert isinstance(hello, Hello)
        assert await self.next() == Publish(data=())
        payload = unseal(hello.introduction, self.identity.public, INTRODUCTION_TYPE)
        return Introduction.model_validate_json(payload)

    identity: Identity


class World:
    """A gateway, a home that it invited, and the daemon's side of the stream."""

    def __init__(self, home: Home, gateway: Gateway, port: int) -> None:
        self.home, self.gateway, self.port = home, gateway, port
        self.received: asyncio.Queue[object] = asyncio.Queue()
        self.stream = ControlStream(home, lambda: [Publish(data=())], self.received.put)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.stream.run())
        try:
            yield task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, GatewayError, PartnerError):
                await task


def run(tmp_path: Path, act: Callable[[World], Awaitable[None]], *, swapped: bool = False) -> None:
    """Let a test act in a world; `swapped`: another gateway answers than the one that invited."""

    async def main() -> None:
        key, other = (TlsKey.generate("gateway", now=utc_now()) for _ in range(2))
        draft = Invitation.create("clinic-a", "127.0.0.1:1", key.sha256)
        gateway = Gateway(other if swapped else key, draft)
        port = await gateway.start()
        invitation = Invitation("clinic-a", f"127.0.0.1:{port}", key.sha256, draft._seed)
        home = init(tmp_path / "home", "party", invitation.token(), "127.0.0.1:0", utc_now())
        gateway.identity = home.identity
        try:
            await asyncio.wait_for(act(World(home, gateway, port)), 2 * DEADLINE_S)
        finally:
            await gateway.stop()

    asyncio.run(main())


def waiting(number: int) -> Waiting:
    return Waiting(session=SESSION, reason=f"number {number}")


def test_a_daemon_introduces_itself_first(tmp_path):
    """Name, role, identity key and TLS certificate come signed by the identity, over a stream of that certificate."""

    async def act(world: World) -> None:
        async with world.running():
            introduction = await world.gateway.introduced()
            assert (introduction.name, introduction.role) == ("clinic-a", "party")
            assert introduction.public_key == world.home.identity.public.hex()
            assert introduction.certificate_sha256 == certificate_sha256(world.gateway.shown)
            assert introduction.certificate_sha256 == world.home.tls.sha256

    run(tmp_path, act)


def test_messages_keep_their_order(tmp_path):
    """What is queued before and after the connection arrives in order; what comes is handed to the handler."""

    async def act(world: World) -> None:
        for number in range(5):
            world.stream.send(waiting(number))
        async with world.running():
            await world.gateway.introduced()
            for number in range(5, 10):
                world.stream.send(waiting(number))
            assert [await world.gateway.next() for _ in range(10)] == [waiting(number) for number in range(10)]
            stop = Stop(session=SESSION, fault=FAULT)
            await world.gateway.said.put(encode(stop))
            received = [await asyncio.wait_for(world.received.get(), DEADLINE_S) for _ in range(2)]
            assert received == [Welcome(gateway="gateway"), stop]
            assert world.stream.connected.is_set()

    run(tmp_path, act)


@pytest.mark.parametrize("how", ["the stream ends", "the gateway restarts"])
def test_nothing_queued_is_lost_by_a_reconnect(tmp_path, how):
    """After every break the daemon introduces itself again, and each message sent since arrives."""

    async def act(world: World) -> None:
        async with world.running():
            await world.gateway.introduced()
            for number in range(0, 6, 2):
                world.stream.send(waiting(number))
                assert await world.gateway.next() == waiting(number)
                if how == "the stream ends":
                    await world.gateway.said.put(None)
                else:
                    await world.gateway.stop()
                    await world.gateway.start(world.port)
                await world.gateway.introduced()
                world.stream.send(waiting(number + 1))
                again = await world.gateway.next()
                if again == waiting(number):  # taken by the stream that broke before it could tell
                    again = await world.gateway.next()
                assert again == waiting(number + 1)

    run(tmp_path, act)


def test_messages_wait_for_a_gateway_that_is_away(tmp_path):
    """A daemon outlives its gateway: what it has to say in the meantime is said when the gateway is back."""

    async def act(world: World) -> None:
        await world.gateway.stop()
        async with world.running():
            world.stream.send(Head(note="head"))
            assert not world.stream.connected.is_set()
            await world.gateway.start(world.port)
            await world.gateway.introduced()
            assert await world.gateway.next() == Head(note="head")

    run(tmp_path, act)


def test_a_rejected_daemon_ends(tmp_path):
    """Being turned away is not retried for ever: the reason and the next step reach the operator."""

    async def act(world: World) -> None:
        await world.gateway.said.put(encode(Rejected(fault=FAULT)))
        with pytest.raises(GatewayError, match="the gateway rejects this daemon: who are you; call"):
            await world.stream.run()

    run(tmp_path, act)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"type": "hello"}', b"\xff"])
def test_nonsense_from_the_gateway_ends_the_stream(tmp_path, content):
    """A gateway that says something else than messages is not listened to."""

    async def act(world: World) -> None:
        await world.gateway.said.put(content)
        with pytest.raises(GatewayError, match="the gateway sent something that is no message"):
            await world.stream.run()

    run(tmp_path, act)


def test_another_gateway_is_not_spoken_to(tmp_path):
    """Whoever shows another certificate than the invitation named gets no introduction."""

    async def act(world: World) -> None:
        with pytest.raises(PartnerError, match="another certificate than the invitation names"):
            await world.stream.run()
        assert world.gateway.heard.empty()

    run(tmp_path, act, swapped=True)


def test_a_gateway_that_was_exchanged_later_is_not_spoken_to(tmp_path):
    """After a restart with another key the gateway at the same address is a stranger."""

    async def act(world: World) -> None:
        async with world.running():
            await world.gateway.introduced()
            await world.gateway.stop()
            stranger = Gateway(TlsKey.generate("gateway", now=utc_now()), world.gateway._invitation)
            await stranger.start(world.port)
            world.stream.send(waiting(1))
            await stranger.stop()
            await world.gateway.start(world.port)
            await world.gateway.introduced()
            assert await world.gateway.next() == waiting(1)
            assert stranger.heard.empty()

    run(tmp_path, act)


def test_a_message_beyond_the_limit_is_not_queued(tmp_path):
    """Who asks for it is told; the stream, which would break at it again and again, never sees it."""

    async def act(world: World) -> None:
        crowd = {"payload": "x" * MAX_MESSAGE_BYTES}
        with pytest.raises(GatewayError, match=r"a 'hello' message of .* is beyond the limit"):
            world.stream.send(Hello(introduction=crowd))
        async with world.running():
            await world.gateway.introduced()
            world.stream.send(waiting(1))
            assert await world.gateway.next() == waiting(1)

    run(tmp_path, act)
