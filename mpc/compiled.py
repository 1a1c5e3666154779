"""How the engine's loops become machine code: by numba, for this processor, when their module is imported.

Each has its types written down, so nothing is compiled in the middle of a session. The code is kept from one process to
the next where numba keeps it: in NUMBA_CACHE_DIR, beside the source, or in the user's cache directory, whichever it may
write to. What lies there is run, as the source is: it must be writable for nobody else. Where there is no such place
each process compiles anew, for some seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
from numba import types

Loop = TypeVar("Loop", bound=Callable[..., Any])

FLAG, WORD, NOTHING = types.boolean, types.int64, types.void
GIVEN, GIVEN_ROWS = (types.Array(WORD, axes, "C", readonly=True) for axes in (1, 2))
FILLED, FILLED_STACK = (types.Array(WORD, axes, "C") for axes in (1, 3))
FILLED_HALVES = types.Array(types.int32, 1, "C")
GIVEN_FLOATS = types.Array(types.float64, 2, "C", readonly=True)
PAIR = types.Tuple((WORD, WORD))


def compiled(result: Any, *arguments: Any) -> Callable[[Loop], Loop]:
    """Compile for these types: integers wrap, as the ring does. Other threads run meanwhile."""
    signature = result(*arguments)

    def compile_(loop: Loop) -> Loop:
        try:
            found: Loop = numba.njit(signature, nogil=True, cache=True)(loop)
        except RuntimeError:  # no place to keep it
            found = numba.njit(signature, nogil=True)(loop)
        return found

    return compile_
