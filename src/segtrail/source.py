"""Hashes of the package's own code, so that a changed formula reruns what it feeds and nothing else."""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
# What these hold is hashed by value (the configuration, what each job is of) or shapes no number (errors,
# file handling, logs, receipts).
NEUTRAL = {"__init__", "config", "errors", "files", "joblog", "layout", "provenance", "runs", "source", "cli"}


def code_hash(*modules: str) -> str:
    """The hash of modules (`models.training`) and of all that they import from this package.

    Comments, blank lines and docstrings do not count; templates and styles that a module names, or that
    are called as it, do.
    """
    return _hash([_file(module.split(".")) for module in modules])


def script_hash(script: Path) -> str:
    """The hash of a script of the workflow and of all that it imports from this package."""
    text, imports, _ = _normal_form(script)
    return _hash(imports, text)


def changed_since(file: Path) -> bool:
    """Whether anything of this package, or of the scripts in the working directory, came after `file`."""
    then = file.stat().st_mtime_ns
    files = (*PACKAGE.rglob("*.*"), *Path("workflow/scripts").glob("*.py"))
    # Bytecode comes and goes; an editor's lock is a link to nowhere.
    return any(_put(path) > then for path in files if "__pycache__" not in path.parts and path.is_file())


def _put(path: Path) -> int:
    """When a file's content came there, in ns; a copy may keep the time of writing of what it copies."""
    stat = path.stat()
    return max(stat.st_mtime_ns, stat.st_ctime_ns)


def _hash(modules: Iterable[Path], text: str = "") -> str:
    digest = hashlib.sha256(text.encode())
    for path in sorted(_reached(modules)):
        text, _, assets = _normal_form(path)
        digest.update(str(path.relative_to(PACKAGE)).encode())
        digest.update(text.encode())
        for asset in assets:
            digest.update(asset.read_bytes())
    return digest.hexdigest()[:16]


def _reached(modules: Iterable[Path]) -> set[Path]:
    reached: set[Path] = set()
    for module in modules:
        _reach(module, reached)
    return reached


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
def _normal_form(path: Path) -> tuple[str, tuple[Path, ...], tuple[Path, ...]]:
    """A module without docstrings, as text; the package's modules that it imports; the files it names."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports: set[Path] = set()
    # Not `unet.py~`, `unet.py.orig`: what editors leave.
    beside = path.parent.glob(f"{path.stem}.*")
    assets = {asset for asset in beside if not asset.name.startswith(f"{path.stem}.py")}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            imports.update(_imported(node, path))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value:
            folders = (path.parent, path.parent.parent)
            assets.update(folder / node.value for folder in folders if _is_asset(folder, node.value))
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            node.body = body[1:]  # type: ignore[attr-defined]
    return ast.dump(tree), tuple(sorted(imports)), tuple(sorted(assets))


def _is_asset(folder: Path, name: str) -> bool:
    """Whether a text is the name of a file, other than a module, that lies in a folder of the package."""
    return len(name) < 60 and "/" not in name and not name.endswith(".py") and (folder / name).is_file()


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
