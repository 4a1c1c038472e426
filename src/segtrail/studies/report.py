"""The report of a run: one HTML page that holds everything it shows and opens without a network."""

import base64
import math
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from ..config import Run, Study
from ..config.results import Table
from ..errors import ArtifactError
from ..files import write_text
from . import schema, tables
from .claims import REFUSED, SUPPORTED, UNDECIDED
from .published import decimals
from .verdicts import DIRECTION, IMPOSSIBLE, NOT_COMPUTED, OUTSIDE, PHANTOM, WITHIN

# Larger SVGs (pictures of scans at many voxels) are shown as their PNG twin, so that the page stays small.
LARGEST_SVG = 600_000  # bytes
PACKAGES = ("segtrail", "torch", "monai", "numpy", "scipy", "simpleitk", "nibabel", "pandas")
# verdict → (class in the style sheet, sign): a verdict is told by words, by a sign and by colour.
VERDICTS = {
    WITHIN: ("within", "✓"),
    DIRECTION: ("direction", "≈"),
    OUTSIDE: ("outside", "✗"),
    IMPOSSIBLE: ("impossible", "!"),
    PHANTOM: ("phantom", "◌"),
    NOT_COMPUTED: ("missing", "–"),
    SUPPORTED: ("within", "✓"),
    REFUSED: ("outside", "✗"),
    UNDECIDED: ("missing", "?"),
}
PART_TITLES = {"train": "training", "val": "validation", "test": "test", "shift": "shifted test"}
GAUGE_WIDTH = 132
REM_PER_PIXEL = 62 / 1432  # a figure of both columns of a journal page fills the text
MINUS = "−"


def write_report(run: Run, results_dir: Path, out: Path) -> None:
    """Writes the page of all studies of a run.

    `results_dir` holds `<run>/<study>/` for each study, with its `cells.csv`, `claims.csv`,
    `members.parquet`, `subjects.parquet` and `figures/<name>.svg` and `.png`. The same inputs give the
    same bytes. Raises ArtifactError naming an input that is missing or not what it should be.
    """
    environment = Environment(
        loader=PackageLoader("segtrail.studies", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["loss"] = loss_names
    environment.filters["slug"] = slug
    environment.globals |= {"note_letter": note_letter, "short": tables.SHORT}
    environment.filters["verdict"] = lambda text: VERDICTS[text]
    page = environment.get_template("report.html.jinja").render(
        run=run,
        studies=[study_view(run, name, results_dir / run.name / name) for name in run.studies],
        datasets=[(name, dataset, name in run.roots) for name, dataset in run.datasets.items()],
        versions=[("Python", platform.python_version()), *((name, version(name)) for name in PACKAGES)],
    )
    write_text(out, page)


def study_view(run: Run, name: str, folder: Path) -> dict[str, Any]:
    """Everything the template shows of one study."""
    study = run.studies[name]
    cells = schema.read_csv(folder / "cells.csv", schema.CELLS)
    claims = schema.read_csv(folder / "claims.csv", schema.CLAIMS)
    return {
        "name": name,
        "study": study,
        "absent": run.absent.get(name, {}),
        "verdicts": counted(cells["verdict"]),
        "claim_verdicts": counted(claims.drop_duplicates("claim")["claim_verdict"]),
        "tables": [table_view(table, cells[cells["table"] == table.name]) for table in study.tables],
        "claims": [claim_view(part) for _, part in claims.groupby("claim", sort=False)],
        "figures": [
            {"name": figure, "spec": spec, **picture(folder / "figures" / figure)}
            for figure, spec in study.figures.items()
        ],
        "members": members_view(study, schema.read(folder / "members.parquet", schema.MEMBERS)),
        "subjects": subjects_view(study, schema.read(folder / "subjects.parquet", schema.SUBJECTS)),
    }


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as mappings, NaN for every missing number."""
    return [
        {str(name): math.nan if value is None or pd.isna(value) else value for name, value in row.items()}
        for row in table.to_dict(orient="records")
    ]


def counted(verdicts: Iterable[str]) -> list[tuple[str, int]]:
    """How often each verdict was given, in the order of VERDICTS."""
    found = pd.Series(list(verdicts), dtype=str).value_counts()
    return [(name, int(found[name])) for name in VERDICTS if name in found]


# --- tables -----------------------------------------------------------------------------------------


def table_view(table: Table, cells: pd.DataFrame) -> dict[str, Any]:
    """A printed table as rows of cells in the paper's order; None where the paper prints nothing."""
    reasons = list(dict.fromkeys(one for reason in cells["reason"] for one in split_reasons(reason)))
    views = {(cell["row"], cell["column"]): cell_view(cell, reasons) for cell in records(cells)}
    columns = [name for name in table.columns if any(column == name for _, column in views)]
    rows = [name for name in table.rows if any(row == name for row, _ in views)]
    return {
        "table": table,
        "columns": [(name, next(views[k]["unit"] for k in views if k[1] == name)) for name in columns],
        "rows": [(row, [views.get((row, column)) for column in columns]) for row in rows],
        "reasons": reasons,
        "verdicts": counted(cells["verdict"]),
    }


def cell_view(cell: dict[str, Any], reasons: Sequence[str]) -> dict[str, Any]:
    places = max(decimals(cell["published"]), decimals(cell["published_lo"]))
    published = float(cell["published"])
    printed = (float(cell["published_lo"]), float(cell["published_hi"])) if cell["published_lo"] else None
    ours, lo, hi = cell["reproduced"], cell["lo"], cell["hi"]
    counts = [
        (cell["n"], "counted" if math.isnan(cell["n_members"]) else "cases"),
        (cell["n_undefined"] or math.nan, "undefined"),
        (cell["n_excluded"] or math.nan, "excluded"),
        (cell["n_members"], "members"),
        (cell["dead_members"] or math.nan, "with a dead class"),
    ]
    beside = ""
    if not math.isnan(cell["beside"]):
        beside = f"{cell['beside_measure']} {number(cell['beside'], places)}"
    return {
        "unit": cell["unit"],
        "published": cell["published"].replace("-", MINUS),
        "published_interval": f"{cell['published_lo']}–{cell['published_hi']}" if printed else "",
        "ours": number(ours, places),
        "ours_interval": f"{number(lo, places)}–{number(hi, places)}" if not math.isnan(lo) else "",
        "difference": difference(published, printed, ours),
        "gauge": gauge(published, printed, ours, lo, hi, VERDICTS[cell["verdict"]][0]),
        "beside": beside,
        "n": ", ".join(f"{int(count)} {of}" for count, of in counts if not math.isnan(count)),
        "verdict": cell["verdict"],
        "notes": [note_letter(reasons.index(one)) for one in split_reasons(cell["reason"])],
    }


def split_reasons(reason: str) -> list[str]:
    """A cell's reasons, which cells.csv joins by semicolons."""
    return reason.split("; ") if reason else []


def number(value: float, places: int) -> str:
    """With the digits that the paper prints; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.{places}f}".replace("-", MINUS)


def difference(published: float, printed: tuple[float, float] | None, ours: float) -> str:
    """Ours minus published, in units of half the published interval; in per cent where none is printed."""
    if math.isnan(ours):
        return ""
    if printed and printed[1] > printed[0]:
        steps = (ours - published) / ((printed[1] - printed[0]) / 2)
        return f"{steps:+.2f}".replace("-", MINUS) + " half-intervals"
    if published == 0:
        return f"{ours:+.2g}".replace("-", MINUS, 1)
    return f"{100 * (ours - published) / abs(published):+.0f} %".replace("-", MINUS)


def gauge(
    published: float, printed: tuple[float, float] | None, ours: float, lo: float, hi: float, kind: str
) -> Markup:
    """A strip on which both values and intervals lie; the text beside it says the same."""
    if math.isnan(ours) or (printed is None and math.isnan(lo)):
        return Markup("")
    low, high = printed or (published, published)
    values = [published, low, high, ours] + ([] if math.isnan(lo) else [lo, hi])
    span = max(values) - min(values) or abs(published) or 1.0
    start, span = min(values) - 0.05 * span, 1.1 * span

    def x(value: float) -> str:
        return f"{GAUGE_WIDTH * (value - start) / span:.1f}"

    def line(name: str, left: float, right: float, y: int) -> str:
        return f'<line class="{name}" x1="{x(left)}" x2="{x(right)}" y1="{y}" y2="{y}"/>'

    parts = [line("printed", low, high, 6)] if printed else []
    parts.append(f'<line class="tick" x1="{x(published)}" x2="{x(published)}" y1="1" y2="11"/>')
    if not math.isnan(lo):
        parts.append(line(f"spread {kind}", lo, hi, 15))
    parts.append(f'<circle class="ours {kind}" cx="{x(ours)}" cy="15" r="3.5"/>')
    size = f'viewBox="0 0 {GAUGE_WIDTH} 20" width="{GAUGE_WIDTH}" height="20"'
    return Markup(f'<svg class="gauge" {size} aria-hidden="true">{"".join(parts)}</svg>')


def note_letter(index: int) -> str:
    """a, b, … z, aa, ab, …"""
    high, low = divmod(index, 26)
    return (chr(96 + high) if high else "") + chr(97 + low)


# --- claims -----------------------------------------------------------------------------------------


def claim_view(parts: pd.DataFrame) -> dict[str, Any]:
    first = parts.iloc[0]
    return {
        "id": first["claim"],
        "text": first["text"],
        "where": first["where"],
        "note": first["note"],
        "verdict": first["claim_verdict"],
        "verdicts": counted(parts["verdict"]),
        "parts": [part_view(part) for part in records(parts)],
    }


def part_view(part: dict[str, Any]) -> dict[str, Any]:
    pair = f"{part['a']} against {part['b']}" if part["b"] else part["a"]
    interval = "" if math.isnan(part["lo"]) else f"{significant(part['lo'])} to {significant(part['hi'])}"
    return {
        **part,
        "what": ", ".join(text for text in (part["cohort"], part["segment"]) if text),
        "pair": pair,
        "measured": " ".join(text for text in (part["measure"], f"({part['region']})") if text.strip("()")),
        "effect": significant(part["effect"]),
        "interval": interval,
        "p": "–" if math.isnan(part["p_corrected"]) else f"{part['p_corrected']:.2g}",
        "n": "–" if math.isnan(part["n"]) else int(part["n"]),
        "in_print": f"{significant(part['printed_effect'])}, {part['printed_direction']}"
        if part["printed_direction"]
        else "–",
    }


def significant(value: float) -> str:
    """Three significant digits."""
    return "–" if math.isnan(value) else f"{value:.3g}".replace("-", MINUS, 1)


# --- what was run -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class MemberRow:
    cohort: str
    model: str
    members: int
    parameters: str
    epochs: str
    best_epoch: str
    val_dice: str
    dead: list[str]
    restarts: int


def members_view(study: Study, members: pd.DataFrame) -> list[MemberRow]:
    """One line per cohort and model; every member with a dead class is named."""
    rows = []
    for (cohort, model), group in members.groupby(["cohort", "model"], sort=False):
        rows.append(
            MemberRow(
                cohort=study.cohorts[str(cohort)].title,
                model=study.models[str(model)].title,
                members=len(group),
                parameters=" or ".join(f"{count:,}" for count in sorted(group["parameters"].unique())),
                epochs=spread(group["epochs"], 0),
                best_epoch=spread(group["best_epoch"], 0),
                val_dice=spread(group["val_dice"], 3),
                dead=dead_members(study, str(cohort), group),
                restarts=int(group["restarts"].sum()),
            )
        )
    return rows


def dead_members(study: Study, cohort: str, group: pd.DataFrame) -> list[str]:
    """`member 3: myocardium` for each member that never learnt a class."""
    names = {str(number): one.name for number, one in enumerate(study.cohorts[cohort].segments, start=1)}
    found = group[group["dead_classes"] != ""].sort_values("member")
    return [
        f"member {member}: " + ", ".join(names.get(k, f"class {k}") for k in classes.split(","))
        for member, classes in zip(found["member"].tolist(), found["dead_classes"].tolist(), strict=True)
    ]


def spread(values: pd.Series, places: int) -> str:
    """Median and range."""
    middle, low, high = (f"{value:.{places}f}" for value in (values.median(), values.min(), values.max()))
    return middle if low == high else f"{middle} ({low} to {high})"


def subjects_view(study: Study, subjects: pd.DataFrame) -> list[dict[str, Any]]:
    """One line per cohort, part and data set; every excluded image with its reason."""
    rows = []
    for (cohort, part, dataset), group in subjects.groupby(["cohort", "part", "dataset"], sort=False):
        kept, left_out = group[group["excluded"] == ""], group[group["excluded"] != ""]
        reasons = zip(left_out["subject"].tolist(), left_out["excluded"].tolist(), strict=True)
        rows.append(
            {
                "cohort": study.cohorts[str(cohort)].title,
                "part": PART_TITLES[str(part)],
                "dataset": dataset,
                "patients": kept["patient"].nunique(),
                "images": len(kept),
                "sites": shares(kept["site"]),
                "groups": shares(kept["group"]),
                "excluded": [f"{subject}: {reason}" for subject, reason in reasons],
            }
        )
    return rows


def shares(values: pd.Series) -> str:
    found = values[values != ""].value_counts().sort_index()
    return ", ".join(f"{name} {count}" for name, count in found.items()) or "–"


# --- text and pictures ------------------------------------------------------------------------------


def loss_names(text: str) -> Markup:
    """`Brain (EN L_DSC)` with its loss as the paper sets it; a slash may end a line."""
    safe = str(escape(text)).replace("/", "/<wbr>")
    return Markup(re.sub(r"\bL_(\w+)", r"ℒ<sub>\1</sub>", safe))


def slug(text: str) -> str:
    """An id for links."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "none"


def picture(stem: Path) -> dict[str, Any]:
    """A figure as a data URI (its SVG, or the PNG where that is large) and its width on the page in rem."""
    vector, raster = stem.with_suffix(".svg"), stem.with_suffix(".png")
    for path in (vector, raster):
        if not path.is_file():
            raise ArtifactError("no such file", file=path, expected="a figure drawn by its rule")
    large = vector.stat().st_size > LARGEST_SVG
    chosen, kind = (raster, "png") if large else (vector, "svg+xml")
    with Image.open(raster) as image:
        width = image.width * REM_PER_PIXEL
    content = base64.b64encode(chosen.read_bytes()).decode()
    return {"source": f"data:image/{kind};base64,{content}", "width": round(width, 1)}
