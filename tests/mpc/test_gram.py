"""Kernels on the masked table and one refresh of the inverse, with tuples dealt as the layouts say."""

import numpy as np
import pytest

from mpc.blocks import Table
from mpc.costs import opening, openings
from mpc.layouts import Masks, layout, values
from mpc.newton import Refresh
from mpc.openings import Slot
from mpc.products import HOST, products
from mpc.program import derive
from mpc.ring import encode
from mpc.scales import DATA_BITS, INFORMATION_BITS, ROW_BITS
from mpc.shares import shared
from mpc.shares import words as share_words
from mpc.simulation import Simulation
from mpc.symmetric import packed_size, unpacked
from tests.contracts.played import evenly, make_spec, opened, quiet_program, share_of, words

ROWS = 60


class Dealt:
    """A table of all parties and the tuples for it, the same at every party but for the shares."""

    def __init__(self, world, rank, columns=5, **changes):
        self.program = derive(make_spec(rows=ROWS, columns=evenly(columns, world), solver="newton", **changes))
        self.world, self.rank, self._generator = world, rank, np.random.default_rng(11)
        plain = self._generator.normal(size=(ROWS, columns))
        plain = (plain - plain.mean(axis=0)) / plain.std(axis=0)
        self.X = np.ascontiguousarray(np.concatenate([encode(plain, DATA_BITS), self._constant()], axis=1))
        self.A = words(self._generator, self.X.shape)
        self.A[:, columns:] = 0
        own = self.program.own(rank)
        self.table = Table(products(self.X[:, own], self.X - self.A, own, HOST), None, None)

    def _constant(self):
        return np.full((ROWS, self.program.width - self.program.columns), 1 << DATA_BITS, dtype=np.int64)

    def take(self, kind, *used):
        """This rank's parts and values of a fresh tuple."""
        shape = layout(self.program, self.program.ladder[0], kind)
        parts = {name: words(self._generator, each) for name, each in shape.parts.items()}
        zeros = np.zeros(self.program.width, dtype=np.int64)
        masks = Masks(self.A, np.zeros(ROWS, dtype=np.int64), zeros, zeros)
        dealt = values(self.program, self.program.ladder[0], kind, parts, masks, used)
        assert {name: each.shape for name, each in dealt.items()} == dict(shape.values)
        return self._shares(parts), self._shares(dealt)

    def matrix_mask(self):
        mask = words(self._generator, (1, packed_size(self.program.width)))
        return mask, share_of(mask, self._generator, self.rank, self.world)

    def _shares(self, arrays):
        return {name: self.share(each) for name, each in arrays.items()}

    def share(self, value):
        return share_of(value, self._generator, self.rank, self.world)


def on_shares(world, party):
    """Run it at every party beside a dealer that only answers."""
    return Simulation(quiet_program(world)).run(party)


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("intercept", [True, False])
def test_the_gram_matrix_is_exact_and_costs_no_round(world, intercept):
    """Shares of X^T X come from the masked blocks alone, also where a party has no column."""

    def party(runtime):
        dealt = Dealt(world, runtime.rank, columns=3, fit_intercept=intercept)
        rounds = runtime.channel.counters.rounds
        found = share_words(dealt.table.gram(dealt.take("gram")[1]["table_table"]))
        assert runtime.channel.counters.rounds == rounds
        return opened(found) - dealt.X.T @ dealt.X

    for difference in on_shares(world, party):
        assert not difference.any()


@pytest.mark.parametrize("world", [2, 3])
def test_rows_are_scaled_by_one_opening(world):
    """[S X] is the rows of X times the truncated S, and X^T [S X] the product of that."""

    def party(runtime):
        dealt = Dealt(world, runtime.rank)
        program = dealt.program
        density = np.arange(ROWS, dtype=np.int64)[:, None] << (program.density_shift + 6)
        while True:
            (parts, given), slot = dealt.take("density"), Slot()
            s = slot.truncating(
                "density",
                shared(dealt.share(density)),
                parts["mask"],
                given["low"],
                program.density_window,
                program.density_shift,
            )
            if not slot.void:
                break
        scaled = dealt.table.scaled(s, given["low_table"])
        rows = Slot().whole("rows", scaled, parts["scaled"])
        total = dealt.table.transposed_matrix(rows, given["table_scaled"])
        return dealt.X, opened(share_words(scaled)), opened(share_words(total))

    for X, scaled, total in on_shares(world, party):
        exact = (np.arange(ROWS) << 6)[:, None] * X
        assert (np.abs(scaled - exact) <= np.abs(X)).all()  # S is off by less than 1 in its last place
        assert (total == X.T @ scaled).all()


@pytest.mark.parametrize("world", [2, 3])
def test_newton_and_schulz_invert_the_information_matrix(world):
    """From the Gram matrix, the steps that the program plans lead to the inverse of X^T X / 4 with damping."""

    def party(runtime):
        dealt = Dealt(world, runtime.rank)
        program = dealt.program
        refresh = Refresh.from_gram(program, dealt.table, dealt.take("gram")[1])
        mask, share = dealt.matrix_mask()
        refresh.information(share, *dealt.take("information"))
        for _ in range(program.first_steps):
            refresh.step(*dealt.take("step", mask))
        inverse = refresh.inverse(dealt.matrix_mask()[1], *dealt.take("inverse"))
        (model,) = program.models
        damping = np.array([model.damping] * program.columns + [model.intercept_damping] * program.fit_intercept)
        total = dealt.X.T @ dealt.X * (1 << (ROW_BITS - 2)) + np.diag(damping)
        H = np.ldexp(total.astype(float), -INFORMATION_BITS - program.mean_bits)
        return H, np.ldexp(unpacked(opened(inverse.packed))[0].astype(float), -program.inverse_bits), inverse

    for H, V, inverse in on_shares(world, party):
        assert inverse.opened.public.shape == (1, *H.shape)
        assert np.abs(V @ H - np.eye(len(H))).max() < 0.1


@pytest.mark.parametrize("void", [True, False])
def test_a_void_refresh_keeps_the_inverse_that_was_there(void):
    """A slot with a rejection leaves the inverse, under a fresh mask and at the same cost; else it is made anew."""

    def party(runtime):
        dealt = Dealt(2, runtime.rank)
        program = dealt.program
        first = Refresh.from_gram(program, dealt.table, dealt.take("gram")[1])
        before = first.inverse(dealt.matrix_mask()[1], *dealt.take("inverse"))
        sent = runtime.channel.counters.bytes_sent
        density = shared(dealt.share(np.full((ROWS, 1), 1 << 30, dtype=np.int64)))
        again = Refresh.of_strips(program, before, void=void)
        again.density(dealt.table, density, *dealt.take("density"))
        mask, share = dealt.matrix_mask()
        again.information(share, *dealt.take("information"))
        for _ in range(program.refresh_steps):
            again.step(*dealt.take("step", mask))
        after = again.inverse(dealt.matrix_mask()[1], *dealt.take("inverse"))
        sent = runtime.channel.counters.bytes_sent - sent
        return opened(before.packed), opened(after.packed), opened(after.opened.tensor().share.numpy()), sent

    program = Dealt(2, 0).program
    kinds = ("density", "information", *["step"] * program.refresh_steps, "inverse")
    for before, after, masked, sent in on_shares(2, party):
        assert (unpacked(after) == masked).all()
        assert (after == before).all() == void
        assert sent == sum(opening(2, each).bytes_sent for kind in kinds for each in openings(program, kind))
