"""What the files of a crate are called, and what they are."""

import mimetypes
from fnmatch import fnmatch
from pathlib import Path

from ...layout import Layout

CONFIGURATION = "configuration.json"  # written for the crate: the run's configuration, resolved
DRAWN = "Made from phantoms, which are drawn: it shows that the pipeline works, not that a paper is right."
FORMATS = {
    "Snakefile": "text/x-python",
    ".smk": "text/x-python",
    ".py": "text/x-python",
    ".parquet": "application/vnd.apache.parquet",
    ".safetensors": "application/octet-stream",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".cff": "application/yaml",
    ".toml": "application/toml",
    ".md": "text/markdown",
    ".tex": "application/x-tex",
}
# Paths below results/<run>; the first that fits.
RESULTS = {
    "run.json": "What kind of run this is",
    "receipts/*.json": "Receipt: what a job made, from what, when and with which versions",
    "data/*/subjects.csv": "The subjects of a data set: shape, spacing, site, labels",
    "data/*/rejected.csv": "Subjects that were refused, and why",
    "report.html": "The page of the run: published beside reproduced, figures, claims",
    "*/cells.csv": "One row for each printed number: published, reproduced, interval, n, verdict, reason",
    "*/unprinted.csv": "The same of tables whose numbers the paper does not print",
    "*/metrics.json": "The cells' numbers, by table, row and column; how many have which verdict",
    "*/claims.csv": "The paper's sentences, held to the measures",
    "*/audit.csv": "Identities and bounds that the cells must keep",
    "*/measures.parquet": "One row for each subject, predictor, segment, region and measure",
    "*/reliability.parquet": "Counts for reliability diagrams",
    "*/errors.parquet": "Counts of uncertain voxels among right and wrong ones, by threshold",
    "*/members.parquet": "The members, and how their training went",
    "*/subjects.parquet": "The subjects of each part of each cohort",
    "*/tables/*": "A table of the paper, with the numbers of this run",
    "*/figures/*": "A figure of the paper, with the numbers of this run",
    "*/members/*.safetensors": "Weights of a member",
    "*/members/*.csv": "History of a member's training",
    "*/subjects/*.json": "Some of the subjects: how each was prepared, or why it is left out",
    "*/split.json": "Which subjects are trained, validated and tested on",
    "*/population.json": "Statistics of the training part",
    "*/measures/*.parquet": "Measures of some of the subjects",
    "*/reliability/*.parquet": "Counts for reliability diagrams, of some of the subjects",
    "*/errors/*.parquet": "Counts of uncertain voxels by threshold, of some of the subjects",
    "*/ranges/*.json": "Smallest and largest uncertainty of a part, by which it is rescaled",
}
# Paths in the clone.
CLONE = {
    "Snakefile": "The workflow: from the scans to every table cell, figure and claim",
    "workflow/rules/*": "Rules of the workflow",
    "workflow/scripts/*": "Script of a rule",
    "workflow/report/*": "Caption in the report that snakemake itself makes",
    "src/*": "Part of the package that the scripts call",
    "config/studies/*": "A paper as data: cohorts, models, predictors, tables, claims, figures",
    "config/datasets/*": "A data set: layout, channels, labels, source, terms",
    "config/published/*": "Every number that the paper prints",
    "config/audit/*": "What the paper's printed numbers are held to",
    "config/rates.csv": "What jobs cost, as measured",
    "config/*": "Configuration of a run",
    CONFIGURATION: "The whole configuration of this run, as its jobs read it",
    "slurm/*": "Profile for a SLURM cluster",
    "requirements.lock": "The exact version of every library",
    "environment.yml": "The same versions, for conda",
    "pyproject.toml": "The package and what it uses",
    "LICENSE": "Licence of the software",
    "CITATION.cff": "How to cite the software and the papers",
    "README.md": "What segtrail is, and how to run it",
}


def encoding_format(path: str) -> str:
    """The media type of a file, by its name."""
    known = FORMATS.get(path) or FORMATS.get(Path(path).suffix)
    return known or mimetypes.guess_type(path)[0] or "text/plain"


def name_and_description(layout: Layout, path: str) -> tuple[str, str]:
    """Of a file of the crate; both say of each result of a phantom that it is one."""
    tree = f"results/{layout.run.name}/"
    if not path.startswith(tree):
        return path, next(
            (text for pattern, text in CLONE.items() if fnmatch(path, pattern)),
            "A file that the run was given",
        )
    below = path.removeprefix(tree)
    text = next((text for pattern, text in RESULTS.items() if fnmatch(below, pattern)), "A result of the run")
    name, caption = _titled(layout, below)
    return marked(layout, name), told(layout, caption or text)


def marked(layout: Layout, name: str) -> str:
    """A name, that of a phantom where the run is made from phantoms."""
    return f"PHANTOM: {name}" if layout.run.phantom else name


def told(layout: Layout, text: str) -> str:
    """A description, with what it means that the run is made from phantoms."""
    text = text if text.endswith(".") else f"{text}."
    return f"{text} {DRAWN}" if layout.run.phantom else text


def _titled(layout: Layout, below: str) -> tuple[str, str | None]:
    """The name of a result, the paper's own for tables and figures, and the caption of a figure."""
    study, _, rest = below.partition("/")
    if study not in layout.run.studies:
        return below, None
    content, file = layout.run.studies[study], Path(rest)
    tables = {table.slug: f"{table.name}: {table.title}" for table in content.tables}
    if rest.startswith("tables/") and file.stem in tables:
        return f"{study}, {tables[file.stem]} ({file.suffix[1:]})", None
    if rest.startswith("figures/") and file.stem in content.figures:
        figure = content.figures[file.stem]
        return f"{study}, {figure.title} ({file.suffix[1:]})", figure.caption
    return below, None
