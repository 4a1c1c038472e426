"""Hashes of the package's own code, so that a changed formula reruns what it feeds and nothing else."""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
# What these hold is hashed by value (the configuration) or shapes no number (errors, file handling, logs).
NEUTRAL = {"__init__", "config", "errors", "files", "joblog", "layout", "source", "cli"}


def code_hash(*modules: str) -> str:
    """The hash of modules (`models.training`) and of all that they import from this package.

    Comments, blank lines and docstrings do not count.
    """
    reached: set[Path] = set()
    for module in modules:
        _reach(_file(module.split(".")), reached)
    digest = hashlib.sha256()
    for path in sorted(reached):
        digest.update(str(path.relative_to(PACKAGE)).encode())
        digest.update(_normal_form(path)[0].encode())
    return digest.hexdigest()[:16]


def _file(parts: list[str]) -> Path:
    base = PACKAGE.joinpath(*parts)
    path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    if not path.is_file():
        raise FileNotFoundError(f"no module {'.'.join(parts)} in the package")
    return path


def _reach(path: Path, reached: set[Path]) -> None:
    if path in reached or path.relative_to(PACKAGE).parts[0].removesuffix(".py") in NEUTRAL:
        return
    reached.add(path)
    for imported in _normal_form(path)[1]:
        _reach(imported, reached)


@cache
def _normal_form(path: Path) -> tuple[str, tuple[Path, ...]]:
    """A module without docstrings, as text, and the package's files that it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            imports += _imported(node, path)
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            node.body = body[1:]  # type: ignore[attr-defined]
    return ast.dump(tree), tuple(sorted(set(imports)))


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _imported(node: ast.ImportFrom, path: Path) -> list[Path]:
    if node.level:
        base = path.parents[node.level - 1]
    elif (node.module or "").split(".")[0] == "segtrail":
        base = PACKAGE.parent
    else:
        return []
    base = base.joinpath(*(node.module or "").split(".")) if node.module else base
    found = []
    for target in [base, *(base / alias.name for alias in node.names)]:
        for candidate in (target.with_suffix(".py"), target / "__init__.py"):
            if candidate.is_file():
                found.append(candidate)
    return found
