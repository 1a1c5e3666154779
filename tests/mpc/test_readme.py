"""The engine's README says what the code does: its modules, its scales and its figures."""

import re
from pathlib import Path

import pytest

import mpc
from mpc.costs import item, quote
from mpc.fourier import COEFFICIENT_BITS, TURN_BITS, sigmoid_error
from mpc.frames import HEADER_BYTES
from mpc.layouts import layout
from mpc.program import derive
from mpc.scales import DATA_BITS, ITERATE_BITS, SCORE_BITS, TABLE_BITS
from tests.mpc.test_program import SPECS

ENGINE = Path(mpc.__file__).parent
TEXT = (ENGINE / "README.md").read_text()
PROSE = " ".join(TEXT.split())
AGREED = derive(SPECS["breast cancer"])


def test_every_module_has_its_place():
    """The map names each module once and none that is not there."""
    section = TEXT.split("## The modules")[1].split("\n## ")[0]
    first_cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = [name for cell in first_cells for name in re.findall(r"`([\w/]+\.py)`", cell)]
    assert sorted(named) == sorted(str(path.relative_to(ENGINE)) for path in ENGINE.rglob("*.py"))


@pytest.mark.parametrize(
    "says",
    [
        f"| {DATA_BITS}, `DATA_BITS` |",
        f"`state_bits`; {ITERATE_BITS}, `ITERATE_BITS`",
        f"| {SCORE_BITS}, `SCORE_BITS` |",
        f"`beta` {COEFFICIENT_BITS}, `COEFFICIENT_BITS`",
        f"| {TURN_BITS} bits of a circle |",
        f"tables have {TABLE_BITS} bits",
        f"a header of {HEADER_BYTES} bytes",
        "({}, {}, {})".format(*(rung.bound for rung in AGREED.ladder)),
        "periods are {}, {} and {} with".format(*(rung.period for rung in AGREED.ladder)),
    ],
)
def test_scales_are_the_code_s(says):
    """Each number that the text names is the constant's."""
    assert says in PROSE


def test_figures_are_the_quote_s():
    """The example's rounds and megabytes are those that the program is quoted."""
    found = quote(AGREED)
    assert f"{found.rounds} rounds" in PROSE
    assert f"{max(found.bytes_sent) / 1e6:.1f} MB sent by a party" in PROSE
    assert f"{found.dealer_bytes / 1e6:.1f} MB by the dealer" in PROSE


def test_formulas_are_the_costs():
    """A slot's bytes, the dealer's for it, and the sigmoid's error are what the text's formulas give."""
    m, d, peers, rung = AGREED.rows, AGREED.width, AGREED.world - 1, AGREED.ladder[0]
    assert item(AGREED, 0, rung, "slot").bytes_sent == peers * (8 * d + 12 * m + 3 * HEADER_BYTES)
    assert (
        8 * sum(layout(AGREED, rung, kind).words for kind in ("slot", "tables"))
        == 8 * (2 * d + 2 * m + 2 * rung.harmonics * m) + 8
    )
    assert "within 1.3e-4" in PROSE
    assert float(sigmoid_error(rung.period, rung.harmonics)) <= 1.3e-4


def test_the_text_is_short():
    """A newcomer reads it in one sitting."""
    assert len(TEXT.splitlines()) <= 150
