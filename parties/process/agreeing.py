"""A worker's part of agreeing on levels: parties with the same columns tell each other theirs, and nobody else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from parties.agreement.contract import LEVELS, Contract, levels_told, recipient
from parties.columns.encoding import ReadColumn
from parties.columns.levels import LEVEL_BYTES, Lists, in_slots, joint, own_levels, read_slots
from parties.errors import DataError
from parties.process.job import Intent, Opened
from parties.process.matching import compare, digest

if TYPE_CHECKING:
    from mpc.channel import Channel
    from mpc.keys import SessionKeys
    from parties.process.voice import Speaking

Rows: TypeAlias = NDArray[np.int64]


def agree_on_levels(
    contract: Contract,
    channel: Channel,
    keys: SessionKeys,
    columns: Sequence[ReadColumn],
    training: Rows,
    voice: Speaking,
) -> Lists:
    """Of own columns that others have as well, and whose levels a cap finds, the levels that all of these take.

    Shapes: columns (own rows,) each; training, which of these are trained on.
    Cost: 2 rounds at who has such columns: LEVEL_BYTES for each level under their caps, and 32 bytes, to each partner.
    Reveals: to these partners, the disclosure "levels", what `own_levels` finds.
    Raises: DisclosureRefused if the node does not record it, before anything is sent; DataError if a partner's levels
    are none, or it took another list.
    """
    parties = [party.name for party in contract.parties]
    for item in levels_told(contract.division, contract.parties, contract.preparation):
        voice.ask(Intent(name=LEVELS, recipient=recipient(item.recipients, parties), values=item.values))
    preparation, rank = contract.preparation, channel.rank
    caps = {name: preparation.of(name).most_levels for name in contract.agreed_columns(rank)}
    if not caps:
        return {}
    own = {
        column.name: own_levels(column.take(training), caps[column.name], preparation.smallest_bin)
        for column in columns
        if column.name in caps
    }
    side = contract.division.side(rank)
    partners, filled = [peer for peer in side if peer != rank], in_slots(own, caps)
    theirs = channel.exchange(
        LEVELS, dict.fromkeys(partners, filled), dict.fromkeys(partners, ("u1", (sum(caps.values()), LEVEL_BYTES)))
    )
    told = {rank: own} | {
        peer: read_slots(slots.astype(np.uint8), caps, parties[peer]) for peer, slots in theirs.items()
    }
    found = {name: joint([told[owner][name] for owner in side], most) for name, most in caps.items()}
    _check_same(contract, channel, keys, partners, found)
    everything = np.concatenate([filled if owner == rank else theirs[owner] for owner in side])
    voice.say(Opened.of(LEVELS, recipient(side, parties), np.frombuffer(everything.tobytes(), dtype="<i8")))
    return found


def _check_same(contract: Contract, channel: Channel, keys: SessionKeys, partners: Sequence[int], found: Lists) -> None:
    """Raises: DataError if a partner came to another list: it was told other levels than this party."""

    def differ(peer: int, _: bytes) -> DataError:
        return DataError(
            f"{contract.parties[channel.rank].name} and {contract.parties[peer].name} were told different levels",
            action="a party did not follow the protocol; ask the operators",
        )

    texts = [text for name, levels in found.items() for text in (name, str(len(levels)), *levels)]
    compare(channel, "joint levels", digest(keys.parties_key("joint levels"), texts), partners, differ)
