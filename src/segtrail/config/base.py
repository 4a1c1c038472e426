"""The strict base of every configuration model."""

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, ValidationError


class Strict(BaseModel):
    """Frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def mistakes(error: ValidationError, allowed: Callable[[tuple[int | str, ...]], list[str]]) -> str:
    """The first eight mistakes, a line each: key, value, what is wrong, and the keys `allowed` beside it."""
    lines = []
    for problem in error.errors()[:8]:
        key = ".".join(str(part) for part in problem["loc"]) or "(top level)"
        value = "" if isinstance(problem["input"], dict) else f" = {problem['input']!r}"
        hint = ""
        if problem["type"] == "extra_forbidden":
            hint = f"; allowed here: {', '.join(allowed(problem['loc'])) or 'see docs/config.md'}"
        lines.append(f"{key}{value}: {problem['msg']}{hint}")
    return "\n          ".join(lines)
