"""CrypTen's communicator over a channel. What would pickle raises; what has one destination sends to it alone.

Words leave only inside `masked()`, which the runtime puts around CrypTen's own masked protocols (Beaver products,
conversions, wrap counts). Any other caller of `reveal`, `get_plain_text` or `gather` is refused: a disclosure goes
through `mpc.disclosure`.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import Any, ClassVar, NoReturn

import numpy as np
import torch
from torch.distributed import ReduceOp

from mpc.channel import Channel
from mpc.errors import DisclosureRefused, EngineError
from mpc.frames import Array, dtype_of
from mpc.randomness import Entropy, Secret, Stream
from mpc.shim import Communicator
from mpc.transcript import Transcript

WORD_BYTES = 8
DRAWN_BYTES = 1 << 16  # at once, so that small openings cost no call of the cipher each
_local = threading.local()


class _Masked:
    """How deep in masked protocols a thread is."""

    depth = 0

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *_: object) -> None:
        self.depth -= 1


class ChannelCommunicator(Communicator):
    """One a thread: a worker process has one, a simulation one for each of its parties."""

    BYTES_PER_ELEMENT: ClassVar[int] = 8

    def __init__(self, channel: Channel, transcript: Transcript, entropy: Entropy | None = None) -> None:
        """`entropy`: of what is sent in place of shares; the system if None."""
        self.channel, self.transcript = channel, transcript
        self._name = f"party {channel.rank}"
        self._peers = [rank for rank in range(channel.world) if rank != channel.rank]
        self._masked = _Masked()
        self._fresh = Stream(Secret((entropy or Entropy()).fresh("void words")))
        self._drawn, self._taken = bytearray(), 0  # some of them, and how many of these are handed out
        self.reset_communication_stats()

    def masked(self) -> AbstractContextManager[None]:
        """What is opened inside is hidden by a mask that is used once."""
        return self._masked

    def _require_mask(self) -> None:
        if not self._masked.depth:
            raise DisclosureRefused(
                "something asked to open a share outside of a masked protocol",
                action="disclose it by a name that the contract holds; nothing was sent",
            )

    @classmethod
    def is_initialized(cls) -> bool:
        return getattr(_local, "communicator", None) is not None

    @classmethod
    def get(cls) -> ChannelCommunicator:
        found: ChannelCommunicator | None = getattr(_local, "communicator", None)
        if found is None:
            raise EngineError("the engine is not started in this thread", action="enter mpc.runtime.Runtime first")
        return found

    @classmethod
    def install(cls, communicator: ChannelCommunicator | None) -> None:
        """Make it this thread's, or take it away."""
        _local.communicator = communicator

    def get_rank(self) -> int:
        return self.channel.rank

    def get_world_size(self) -> int:
        return self.channel.world

    def set_name(self, name: str) -> None:
        self._name = name

    def get_name(self) -> str:
        return self._name

    def fresh(self, like: Array) -> Array:
        """Random words that nobody else can know, for what is sent in place of shares. Each is handed out once."""
        count, start = like.nbytes, self._taken
        if len(self._drawn) - start < count:
            self._drawn, start = self._fresh.bytes(max(count, DRAWN_BYTES)), 0
        self._taken = start + count + -count % WORD_BYTES
        return np.ndarray(like.shape, like.dtype, self._drawn, start)

    def open_sum(self, name: str, words: Array) -> Array:
        """Open the sum of all parties' words, each of which a mask hides. Cost: 1 round, the words to each peer.

        Shapes: any, int64 or int32 (which wraps likewise), the same at all parties.
        """
        self._require_mask()
        peers, expectation = self._peers, (dtype_of(words), words.shape)
        received = self.channel.exchange(name, dict.fromkeys(peers, words), dict.fromkeys(peers, expectation))
        total = words
        for theirs in received.values():
            total = np.add(total, theirs)  # of the same type: it wraps
        self.transcript.absorb(total)
        return total

    def all_gather(self, tensor: torch.Tensor, async_op: bool = False) -> list[torch.Tensor]:
        del async_op
        self._require_mask()
        own = tensor.contiguous().numpy()
        expectation = ("i8", own.shape)
        received = self.channel.exchange(
            "open", dict.fromkeys(self._peers, own), dict.fromkeys(self._peers, expectation)
        )
        return [tensor if rank == self.channel.rank else _tensor(received[rank]) for rank in range(self.channel.world)]

    def all_reduce(
        self,
        tensor: torch.Tensor | list[torch.Tensor],
        op: Any = ReduceOp.SUM,
        async_op: bool = False,
        batched: bool = False,
    ) -> Any:
        del async_op
        if batched:
            total = self.all_reduce(_flat(tensor), op)
            return _split(total, list(tensor))
        if isinstance(tensor, list):
            raise EngineError("a list of tensors is reduced only as a batch")
        total = _combine(self.all_gather(tensor), op)
        self.transcript.absorb(total.numpy())
        return total

    def reduce(
        self, tensor: Any, dst: int, op: Any = ReduceOp.SUM, async_op: bool = False, batched: bool = False
    ) -> Any:
        del async_op
        if batched:
            total = self.reduce(_flat(tensor), dst, op)
            return None if total is None else _split(total, list(tensor))
        gathered = self.gather(tensor, dst)
        return _combine(gathered, op) if self.channel.rank == dst else None

    def gather(self, tensor: torch.Tensor, dst: int, async_op: bool = False) -> list[Any]:
        del async_op
        self._require_mask()
        own = tensor.contiguous().numpy()
        if self.channel.rank != dst:
            self.channel.exchange("gather", {dst: own}, {})
            return [None]
        received = self.channel.exchange("gather", {}, dict.fromkeys(self._peers, ("i8", own.shape)))
        return [tensor if rank == dst else _tensor(received[rank]) for rank in range(self.channel.world)]

    def scatter(self, scatter_list: Any, src: int, size: Any = None, async_op: bool = False) -> NoReturn:
        raise EngineError("scatter would hand out plain shares; use a zero sharing")

    def broadcast(self, tensor: torch.Tensor, src: int, async_op: bool = False) -> NoReturn:
        raise EngineError("broadcast would send a value unmasked; disclose it instead")

    def send(self, tensor: torch.Tensor, dst: int) -> NoReturn:
        raise EngineError("send would send a value unmasked; open it in a kernel or disclose it")

    def recv(self, tensor: torch.Tensor, src: int | None = None) -> NoReturn:
        raise EngineError("recv has no partner: send is refused")

    isend = send
    irecv = recv

    def send_obj(self, obj: Any, dst: int) -> NoReturn:
        raise EngineError("objects do not travel: nothing is pickled")

    def recv_obj(self, src: int) -> NoReturn:
        raise EngineError("objects do not travel: nothing is pickled")

    def broadcast_obj(self, obj: Any, src: int) -> NoReturn:
        raise EngineError("objects do not travel: nothing is pickled")

    def barrier(self) -> None:
        empty = np.empty(0, dtype="u1")
        self.channel.exchange("barrier", dict.fromkeys(self._peers, empty), dict.fromkeys(self._peers, ("u1", (0,))))


def _tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(array, dtype=np.int64))


def _flat(tensors: Any) -> torch.Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _split(total: torch.Tensor, like: list[torch.Tensor]) -> list[torch.Tensor]:
    parts = torch.split(total, [tensor.numel() for tensor in like])
    return [part.reshape(tensor.shape) for part, tensor in zip(parts, like, strict=True)]


def _combine(tensors: list[torch.Tensor], op: Any) -> torch.Tensor:
    total = tensors[0].clone()
    for tensor in tensors[1:]:
        if op == ReduceOp.BXOR:
            total ^= tensor
        elif op in (ReduceOp.SUM, None):
            total += tensor
        else:
            raise EngineError(f"tensors are not reduced by {op}")
    return total
