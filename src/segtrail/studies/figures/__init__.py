"""The figures of a study, drawn from its measures and probability maps."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.figure import Figure

from ... import config
from ...errors import ConfigError
from ...files import atomic
from . import confidence, curves, error_detection, method_maps, scatter, shift, sizes, subject_reliability
from .common import mark_phantom
from .source import Source

STYLE = Path(__file__).parents[1] / "segtrail.mplstyle"


# kind of figure → (its configuration, the results) → the drawing
PAINTERS: dict[str, Callable[[Any, Source], Figure]] = {
    "ensemble_curves": curves.paint,
    "entropy_scatter": scatter.paint,
    "method_maps": method_maps.paint,
    "shift_examples": shift.paint,
    "size_maps": sizes.paint,
    "confidence_examples": confidence.paint,
    "subject_reliability": subject_reliability.paint,
    "error_detection": error_detection.paint,
}


def draw(
    name: str,
    study_dir: Path,
    run: config.Run,
    study_id: str,
    chunks: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Draws one figure of a study as `<study_dir>/figures/<name>.svg` and `.png`.

    `study_dir` is `results/<run>/<study>`, with `measures.parquet`, `reliability.parquet` and, for a study
    that counts errors, `errors.parquet`; of each cohort's `maps/` and `arrays/` in
    `results/<run>/scratch/<study>` only `chunks` (cohort → names) are read if they are given. The same inputs
    give the same bytes. A panel that this run has no data for says so and why. Raises ConfigError if the
    study has no figure `name`, ArtifactError if an input that the run should have made is missing or damaged.
    """
    figures = run.studies[study_id].figures
    if name not in figures:
        raise ConfigError(
            f"{study_id} has no figure {name!r}", expected=f"one of: {', '.join(sorted(figures)) or '(none)'}"
        )
    chosen = figures[name]
    with matplotlib.style.context(STYLE):
        figure = PAINTERS[chosen.kind](chosen, Source(Path(study_dir), run, study_id, chunks))
        if run.phantom:
            mark_phantom(figure)
        for suffix, metadata in ((".svg", {"Date": None}), (".png", {"Software": None})):
            with atomic(Path(study_dir) / "figures" / f"{name}{suffix}") as temporary:
                figure.savefig(temporary, metadata=metadata)
