"""docs/config.md, made from the models themselves: `python -m segtrail.config.describe > docs/config.md`."""

import inspect
import re
import typing
from types import ModuleType

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from . import audit, claims, cohort, dataset, figure, model, recipe, results, run, study

INTRODUCTION = """# Configuration

*Made from the code by `python -m segtrail.config.describe > docs/config.md`; a test keeps the two equal.*

`config/config.yaml` says what a run is; any of its keys can be laid over with `--configfile FILE` or
`--config key=value`. It names studies (`config/studies/<study>.yaml`) and data sets
(`config/datasets/<name>.yaml`). A study states the paper's protocol; `scales.<scale>` in it, and then
`overrides.<study>` of the run, are laid over it: mappings key by key, everything else (lists too) replaced
whole. An unknown key is an error that names the key, the value and what is allowed.

Spacings and shapes are in (x, y, z) and mm; `null` keeps an axis as it is.
"""
# Which models come first; every other one of the module follows.
SECTIONS: list[tuple[str, ModuleType, list[str]]] = [
    ("A run: config/config.yaml", run, ["RunFile"]),
    ("A data set: config/datasets/*.yaml", dataset, ["Dataset", "Phantom", "Typical"]),
    ("A study: config/studies/*.yaml", study, ["Study", "Measures"]),
    ("Cohorts", cohort, ["Cohort", "Where", "Segment", "Split", "PartRule", "Folds", "Box"]),
    ("Preprocessing steps, in a cohort's `recipe`", recipe, []),
    ("Models and predictors", model, ["Model", "Dropout", "Training", "Plateau", "DeadClass", "Predictor"]),
    ("Tables", results, []),
    ("Claims", claims, []),
    ("Figures", figure, []),
    (
        "The audit of printed numbers: config/audit/*.yaml",
        audit,
        ["Audit", "PrintedTable", "Meaning", "Term", *(item.__name__ for item in audit.KINDS.values())],
    ),
]


def markdown() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for title, module, names in SECTIONS:
        parts.append(f"## {title}\n")
        found = [
            name
            for name, item in vars(module).items()
            if _is_model(item) and item.__module__ == module.__name__ and not name.startswith("_")
            if item is not run.Run  # made of the others, not written by anybody
        ]
        parts += [_table(getattr(module, name)) for name in dict.fromkeys([*names, *found])]
    return "\n".join(parts)


def _is_model(item: object) -> bool:
    return isinstance(item, type) and issubclass(item, BaseModel)


def _table(item: type[BaseModel]) -> str:
    lines = [f"### {item.__name__}\n", inspect.cleandoc(item.__doc__ or "") + "\n"]
    lines += ["| key | values | default | meaning |", "|---|---|---|---|"]
    for name, field in item.model_fields.items():
        default = "required" if field.default is PydanticUndefined else f"`{_plain(field.default)}`"
        lines.append(f"| `{name}` | {_type(field.annotation)} | {default} | {field.description or ''} |")
    return "\n".join(lines) + "\n"


def _plain(value: object) -> str:
    """A default as one would write it in YAML, near enough to read."""
    if isinstance(value, BaseModel):
        return "{" + ", ".join(f"{key}: {_plain(part)}" for key, part in value) + "}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _type(annotation: object) -> str:
    if typing.get_origin(annotation) is typing.Literal:
        return " \\| ".join(f"`{value}`" for value in typing.get_args(annotation))
    text = (
        annotation.__name__
        if isinstance(annotation, type) and not typing.get_args(annotation)
        else str(annotation)
    )
    text = re.sub(r"typing\.Annotated\[(\w+), [^\[\]]*?\]", r"\1", text)
    text = re.sub(r"Annotated\[(.*), FieldInfo\(.*?\)\]", r"\1", text)
    text = re.sub(r"\b(?:\w+\.)+(?=\w)", "", text).replace("NoneType", "null").replace("None", "null")
    return "`" + text.replace("|", "\\|") + "`"


if __name__ == "__main__":
    print(markdown(), end="")
