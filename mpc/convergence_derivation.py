"""How small a gradient must end, as an integer, and how small a one rounding lets be told from zero.

What rounding adds to an entry of the mean gradient: the residuals' and the tables' errors, which even out over the
rows, and those of the truncated weights, at which the gradient is taken.
"""

from __future__ import annotations

from decimal import ROUND_UP, Context, Decimal, localcontext

from mpc.derivation import CONTEXT
from mpc.errors import ProgramError
from mpc.fused_program import Convergence, DescentModel, Fused, MiniBatch
from mpc.scales import DATA_BITS, ITERATE_BITS, TABLE_BITS
from mpc.specification import Spec, strengths, tolerance

TOL = Decimal("0.0001")  # scikit-learn's
MOST_TOL = Decimal("0.1")
DEVIATIONS = 6  # of an entry that rounding alone makes: none of thousands is beyond


def convergence(spec: Spec, program: Fused) -> Convergence | None:
    """None if it is not asked. Raises: ProgramError for a tolerance that can't be told, or of batches."""
    if isinstance(program, MiniBatch):
        if spec.tol not in {"0", "auto"}:
            raise ProgramError("batches have no gradient of the whole table", action="leave tol out")
        return None
    with localcontext(CONTEXT):
        least = least_tol(spec, program)
        tol = max(TOL, least) if spec.tol == "auto" else tolerance(spec)
        if tol == 0:
            return None
        if not least <= tol <= MOST_TOL:
            raise ProgramError(
                f"tol={tol:f} lies outside {least:f} to {MOST_TOL}, what can be told on {spec.rows} rows",
                action='choose a tol within, or "auto"',
            )
        every = tuple(model.ridge_every if isinstance(model, DescentModel) else 1 for model in program.models)
        units = [Decimal(model.residual_unit << DATA_BITS) / (1 << program.residual_shift) for model in program.models]
        bounds = tuple(int(tol * spec.rows * unit * count) for unit, count in zip(units, every, strict=True))
        return Convergence(tol=f"{tol:f}", bounds=bounds, every=every)


def least_tol(spec: Spec, program: Fused) -> Decimal:
    """Of the neediest model. Rounded up to one digit."""
    rows, finest = Decimal(spec.rows), min(program.residual_units)
    residual = Decimal(1 << program.residual_shift) / finest / 2 + Decimal(1) / (4 << TABLE_BITS)
    bend = Decimal(program.width).sqrt() / 4 + 1 / (min(strengths(spec)) * rows)
    least = DEVIATIONS * (residual / rows.sqrt() + bend / (2 << ITERATE_BITS))
    return Context(prec=1, rounding=ROUND_UP).plus(least)
