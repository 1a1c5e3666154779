"""Bodies are read as JSON means them: no text or truth value counts as a number, no number as a truth value.

Files and forms, which have text alone, are read with more patience; what a program sends says what it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError, WrapValidator


def as_json(kind: Any) -> WrapValidator:
    """To annotate a body of this kind. Its errors have the places of the body, as FastAPI's own."""
    adapter: TypeAdapter[Any] = TypeAdapter(kind)

    def read(value: object, patient: Callable[[object], object]) -> object:
        if isinstance(value, bytes):  # of another media type: no JSON at all
            return patient(value)
        try:
            return adapter.validate_json(json.dumps(value), strict=True)
        except ValidationError as exc:
            errors = [{**error, "loc": ("body", *error["loc"])} for error in exc.errors(include_url=False)]
            raise RequestValidationError(errors) from exc

    return WrapValidator(read)
