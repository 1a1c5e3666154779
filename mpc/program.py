"""The frozen program of a session: what every party and the dealer run, derived from a few facts and nothing else.

`derive` is pure and uses integers and decimals alone: each node and the dealer derive the program again before they
sign, so whoever wrote the contract is trusted for nothing. No floating-point number in it ever multiplies a share.
Who only reads a program loads no numpy: the rules that it is derived by are imported where they are used.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from mpc.errors import ProgramError
from mpc.fused_program import FirstOrder, MiniBatch, Newton
from mpc.reference_program import Reference
from mpc.scales import ITERATE_BITS
from mpc.specification import Spec, check_specification, noise

DESCENT_ITERATIONS = 300  # of first-order solvers, unless the plan says otherwise

Program: TypeAlias = Annotated[FirstOrder | MiniBatch | Newton | Reference, Field(discriminator="engine")]


def derive(spec: Spec) -> FirstOrder | MiniBatch | Newton | Reference:
    """The program that follows from these facts. Raises: ProgramError for what can't be computed."""
    from mpc import convergence_derivation, derivation, evaluation_derivation

    check_specification(spec)
    evaluation = evaluation_derivation.evaluation(spec)
    if spec.engine == "reference":
        return derivation.reference(spec, spec.max_iter or DESCENT_ITERATIONS)
    program = _fused(spec)
    if program.folds and not program.discloses("cross-validation"):
        raise ProgramError(
            f"a report every {program.loss_every} of {program.max_iter} iterations is none, and tells no validation",
            action="ask for loss reports more often, or for more iterations",
        )
    convergence = convergence_derivation.convergence(spec, program)
    found = {"convergence": convergence, "evaluation": evaluation, "noise": int(noise(spec) * (1 << ITERATE_BITS))}
    taken_over = {"evidence": spec.evidence, "quantiles": spec.quantiles, "means": spec.means}
    return program.model_copy(update=found | taken_over)


def _fused(spec: Spec) -> FirstOrder | MiniBatch | Newton:
    from mpc import batch_derivation, derivation, newton_derivation

    if spec.solver == "sgd":
        return batch_derivation.mini_batch(spec, spec.max_iter or DESCENT_ITERATIONS)
    if newton_derivation.suits(spec):
        return newton_derivation.newton(spec, spec.max_iter or newton_derivation.iterations(spec))
    return derivation.first_order(spec, spec.max_iter or DESCENT_ITERATIONS)
