"""The rules on a run's own cells: nothing in what our measures give, and any planted violation."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from segtrail.audit.cells import NUMBERS, audit_cells
from segtrail.audit.findings import Finding
from segtrail.audit.table import read_audit, write_audit
from segtrail.cli import app
from segtrail.config import named_run
from segtrail.errors import ArtifactError, ConfigError
from segtrail.files import sha256_of, write_json
from segtrail.measures.calibration import Tally, tally
from segtrail.provenance import receipts

CONFIG = Path(__file__).parents[2] / "config"
RUN = named_run("demo", None, CONFIG)
STUDY = RUN.studies["mehrtash2020"]
ROWS = {"Heart (L_CE)": 0, "Heart (L_DSC)": 1, "Heart (EN L_DSC)": 2}
COLUMNS = {"NLL": "nll", "Brier": "brier_sum", "ECE%": "ece_conf", "Dice I": "dice"}


def measured(seed: int, cases: int, sharpness: float, row: int) -> list[Tally]:
    """Tallies of random probabilities of four classes, one for each case."""
    rng = np.random.default_rng((seed, row))
    result = []
    for _ in range(cases):
        scores = np.exp(sharpness * rng.normal(size=(4, 50)))
        p = (scores / scores.sum(axis=0)).astype(np.float32)
        y = rng.integers(4, size=50).astype(np.uint8)
        clip = STUDY.measures.nll_clip
        result.append(tally(p, y, np.ones(50, dtype=bool), STUDY.measures.ece_bins, clip)[0])
    return result


def value(one: Tally, measure: str) -> float:
    return one.dice(1) if measure == "dice" else getattr(one, measure)("box")


def cells(seed: int = 1, cases: int = 5, sharpness: float = 2.0) -> dict[tuple[str, str], dict[str, str]]:
    """(row, column) → a row of cells.csv, as cells.py makes them."""
    result = {}
    for row, number in ROWS.items():
        tallies = measured(seed, cases, sharpness, number)
        for column, measure in COLUMNS.items():
            factor = 100 if column == "ECE%" else 1
            values = np.array([value(one, measure) for one in tallies]) * factor
            lo, hi = np.percentile(values, [2.5, 97.5])
            beside = measure == "brier_sum"
            numbers = [values.mean(), lo, hi, lo, hi, cases, 4, np.mean(values) / 4 if beside else ""]
            result[row, column] = {
                "table": "Table II",
                "row": row,
                "column": column,
                "beside_measure": "brier_mean" if beside else "",
                **{name: str(number) for name, number in zip(NUMBERS, numbers, strict=True)},
            }
    return result


def written(folder: Path, rows: dict[tuple[str, str], dict[str, str]]) -> Path:
    path = folder / "cells.csv"
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, next(iter(rows.values())))
        writer.writeheader()
        writer.writerows(rows.values())
    return path


def violated(path: Path) -> set[str]:
    return {one.rule for one in audit_cells(path, STUDY) if one.status == "violated"}


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), cases=st.integers(1, 50), sharpness=st.floats(0, 40))
def test_no_probabilities_break_a_rule(tmp_path_factory, seed, cases, sharpness):
    path = written(tmp_path_factory.mktemp("cells"), cells(seed, cases, sharpness))
    assert not violated(path) - {"rows differ"}
    if cases > 2 and 0 < sharpness < 5:
        assert not violated(path)


@pytest.mark.parametrize(
    ("column", "changes", "rule"),
    [
        ("Dice I", {"reproduced": "1.00001"}, "range"),
        ("Dice I", {"lo": "0.5", "hi": "0.4"}, "interval in order"),
        ("Dice I", {"boot_lo": "0.5", "boot_hi": "0.4"}, "interval in order"),
        ("Dice I", {"reproduced": "0.9", "lo": "0.1", "hi": "0.2"}, "mean within percentiles"),
        ("NLL", {"reproduced": "0.0001", "lo": "0.0001", "hi": "0.0001"}, "NLL ≥ −ln(1−ECE)"),
        ("NLL", {"reproduced": "0.0001", "lo": "0.0001", "hi": "0.0001"}, "NLL ≥ 1.2277·Brier"),
        ("Brier", {"reproduced": "0.0001"}, "Brier ≥ K/(K−1)·ECE²"),
        ("Brier", {"beside": "0.9"}, "Brier = K·mean Brier"),
        ("Brier", {"beside": "0.9"}, "NLL ≥ 1.2277·K·Brier"),
    ],
)
def test_a_planted_violation_is_found(tmp_path, column, changes, rule):
    rows = cells()
    rows["Heart (L_DSC)", column] |= changes
    assert rule in violated(written(tmp_path, rows))


def test_a_brier_off_in_the_ninth_digit_is_found(tmp_path):
    rows = cells()
    cell = rows["Heart (L_CE)", "Brier"]
    cell["beside"] = repr(float(cell["beside"]) * (1 + 1e-8))
    assert violated(written(tmp_path, rows)) == {"Brier = K·mean Brier"}


def test_a_row_copied_to_another_predictor_is_found_unless_both_are_one_network(tmp_path):
    rows = cells()
    for column in COLUMNS:
        copy = {**rows["Heart (L_DSC)", column], "row": "Heart (EN L_DSC)"}
        rows["Heart (EN L_DSC)", column] = copy
    assert violated(written(tmp_path, rows)) == {"rows differ"}
    for row in rows.values():
        row["n_members"] = "1"
    assert not violated(written(tmp_path, rows))


def test_a_cell_without_a_value_is_not_looked_at(tmp_path):
    rows = cells()
    for row in rows.values():
        row |= dict.fromkeys(NUMBERS, "")
    assert {one.status for one in audit_cells(written(tmp_path, rows), STUDY)} == {"not applicable"}


def test_counts_are_their_n(tmp_path):
    row = {"table": "Table I", "row": "Heart/ACDC", "column": "test", "beside_measure": ""}
    row |= dict.fromkeys(NUMBERS, "") | {"reproduced": "50.0", "n": "50"}
    assert not violated(written(tmp_path, {("", ""): row}))
    assert violated(written(tmp_path, {("", ""): row | {"n": "49"}})) == {"counts add up"}


def test_sigmoids_that_are_no_probabilities_are_not_held_to_the_rules(tmp_path):
    rows = cells()
    rows["Heart (L_DSC)", "NLL"]["reproduced"] = "0.0001"
    path = written(tmp_path, rows)
    values = STUDY.model_dump()
    values["models"]["dice"]["background"] = "untrained"
    findings = audit_cells(path, type(STUDY).model_validate(values))
    assert not [one for one in findings if one.status == "violated"]
    untold = [one for one in findings if "need not sum to one" in one.sentence]
    assert {one.places[0][1] for one in untold} == {"Heart (L_DSC)", "Heart (EN L_DSC)"}


@pytest.mark.parametrize(
    ("changes", "error", "named"),
    [
        ({"reproduced": "many"}, ArtifactError, ["Table II / Heart (L_CE) / NLL", "reproduced = 'many'"]),
        ({"lo": "nan"}, ArtifactError, ["lo = 'nan'", "finite"]),
        ({"table": "Table 9"}, ConfigError, ["Table 9 / Heart (L_CE) / NLL"]),
    ],
)
def test_a_broken_file_is_named(tmp_path, changes, error, named):
    rows = cells()
    rows["Heart (L_CE)", "NLL"] |= changes
    with pytest.raises(error) as caught:
        audit_cells(written(tmp_path, rows), STUDY)
    for part in named:
        assert part in str(caught.value)


def test_what_is_no_cells_file_is_named(tmp_path):
    (tmp_path / "cells.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ArtifactError, match="columns a, b"):
        audit_cells(tmp_path / "cells.csv", STUDY)
    with pytest.raises(ArtifactError, match=r"none\.csv"):
        audit_cells(tmp_path / "none.csv", STUDY)


def write(folder: Path, rows: dict[tuple[str, str], dict[str, str]]) -> list[Finding]:
    """The audit of a run's cells as its job writes it, read again."""
    where = {
        "cells": written(folder, rows),
        "out": folder / "audit.csv",
        "log": folder / "logs" / "audit.log",
    }
    write_audit(RUN, "mehrtash2020", **where)
    return read_audit(folder / "audit.csv")


def test_the_audit_of_a_run_is_a_table_of_every_finding(tmp_path):
    rows = cells()
    found = write(tmp_path, rows)
    assert [str(one) for one in found] == [str(one) for one in audit_cells(tmp_path / "cells.csv", STUDY)]
    assert {"range", "NLL ≥ 1.2277·Brier"} <= {one.rule for one in found}
    assert {one.places[0] for one in found if one.places} == {("Table II", *place) for place in rows}
    table = pd.read_csv(tmp_path / "audit.csv")
    assert list(table.columns[:5]) == ["study", "rule", "where", "status", "margin"]
    assert set(table["data"]) == {"phantom"}


def test_a_violation_stops_the_run_and_stays_to_be_looked_at(tmp_path):
    rows = cells()
    rows["Heart (L_CE)", "Dice I"]["reproduced"] = "1.5"
    with pytest.raises(ArtifactError) as caught:
        write(tmp_path, rows)
    message = str(caught.value)
    kept = tmp_path / "logs" / "audit_violations.csv"
    for part in (
        "cells.csv",
        "Table II / Heart (L_CE) / Dice I",
        "margin -0.5",
        "dice lies in [0, 1]",
        str(kept),
    ):
        assert part in message, message
    assert len(message.splitlines()) < 25
    # Snakemake removes the table of a job that failed.
    assert {one.rule for one in read_audit(kept)} == {"range", "mean within percentiles"}
    assert {one.status for one in read_audit(kept)} == {"violated"}
    write(tmp_path, cells())
    assert not kept.exists()


def test_a_run_with_much_wrong_is_told_in_one_screen(tmp_path):
    rows = cells()
    for number, row in enumerate(rows.values()):
        row["reproduced"] = f"{-1000 - number}"
    with pytest.raises(ArtifactError) as caught:
        write(tmp_path, rows)
    assert len(str(caught.value).splitlines()) < 25
    assert len(read_audit(tmp_path / "logs" / "audit_violations.csv")) > 12


def test_what_is_no_audit_is_named(tmp_path):
    (tmp_path / "audit.csv").write_text("study,rule\na,b\n", encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"audit\.csv"):
        read_audit(tmp_path / "audit.csv")


# --- uncertainty against errors -----------------------------------------------------------------------

JUNGO = RUN.studies["jungo2019"]
# Table 1 of Jungo 2019: a row's numbers by column, of five subjects.
BASELINE = {"BraTS ECE%": 2.0, "BraTS U-E": 0.43, "BraTS BnF": 0.4, "BraTS Dice": 0.87}


def table_1(path: Path, rows: dict[str, dict[str, float]], beside: float = 0.41, **other: str) -> Path:
    written_rows = {}
    for row, columns in rows.items():
        for column, number in columns.items():
            numbers = dict.fromkeys(NUMBERS, "") | {"reproduced": str(number), "n": "5", "n_members": "1"}
            name = ""
            if column.endswith("U-E"):
                name, numbers["beside"] = "u_e_val", str(beside)
            place = {"table": "Table 1", "row": row, "column": column, "beside_measure": name}
            written_rows[row, column] = place | numbers | other
    return written(path, written_rows)


def rules_of(path: Path, status: str) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for one in audit_cells(path, JUNGO):
        if one.status == status:
            found.setdefault(one.rule, []).append(one)
    return found


def test_what_our_measures_give_of_uncertainty_holds(tmp_path):
    path = table_1(tmp_path, {"baseline": BASELINE, "auxiliary feat.": BASELINE | {"BraTS U-E": 0.42}})
    held = rules_of(path, "holds")
    assert not rules_of(path, "violated")
    assert {"range", "share of n", "best threshold", "one segmentation"} <= held.keys()
    assert len(held["range"]) == 2 * 4 + 2  # and the two beside
    assert len(held["share of n"]) == 2


@pytest.mark.parametrize(
    ("column", "number", "rule"),
    [
        ("BraTS ECE%", 100.5, "range"),
        ("BraTS U-E", 1.01, "range"),
        ("BraTS U-E", 0.40, "best threshold"),
        ("BraTS BnF", 0.5, "share of n"),
        ("BraTS BnF", -0.2, "range"),
    ],
)
def test_a_planted_number_of_uncertainty_is_found(tmp_path, column, number, rule):
    path = table_1(tmp_path, {"baseline": BASELINE | {column: number}})
    assert rule in rules_of(path, "violated")


def test_the_same_threshold_may_be_best_on_both_parts(tmp_path):
    path = table_1(tmp_path, {"baseline": BASELINE}, beside=BASELINE["BraTS U-E"])
    assert "best threshold" in rules_of(path, "holds")


def test_an_auxiliary_network_has_the_dice_of_its_segmentation(tmp_path):
    others = {"auxiliary segm.": BASELINE | {"BraTS Dice": 0.88}, "aleatoric": {"BraTS Dice": 0.5}}
    (found,) = rules_of(table_1(tmp_path, {"baseline": BASELINE, **others}), "violated")["one segmentation"]
    assert {place[1] for place in found.places} == {"baseline", "auxiliary segm."}


def test_a_mean_over_members_need_not_be_a_share_of_the_cases(tmp_path):
    path = table_1(tmp_path, {"baseline": BASELINE | {"BraTS BnF": 0.5}}, n_members="2")
    assert not rules_of(path, "violated")


def test_a_share_of_subjects_is_a_count_of_them(tmp_path):
    place = {"table": "text", "row": "-", "column": "BraTS underconfident %", "beside_measure": ""}
    numbers = dict.fromkeys(NUMBERS, "") | {"n": "160"}
    shares = {"45": "28.125", "44.8": "28"}
    for count, percent in shares.items():
        path = written(tmp_path, {("-", "a"): place | numbers | {"reproduced": percent}})
        assert ("share of n" in rules_of(path, "violated")) == ("." in count)


def left_by_its_job(tree) -> None:
    """The receipt of the cells that there are."""
    receipt = {
        "format": receipts.FORMAT,
        "job": "mehrtash2020/cells",
        "key": sha256_of({}),
        "made_from": {},
        "read": {},
        "scans": {},
        "outputs": receipts.contents(tree, ["mehrtash2020/cells.csv"]),
        "environment": {},
    }
    write_json(receipts.path(tree, "mehrtash2020/cells"), receipt)


def test_the_command_fails_on_a_violation_and_only_then(tmp_path, monkeypatch):
    monkeypatch.chdir(CONFIG.parent)
    folder = tmp_path / "demo" / "mehrtash2020"
    folder.mkdir(parents=True)
    call = ["audit", "--run", "demo", "--results", str(tmp_path), "mehrtash2020"]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 1
    assert "mehrtash2020/cells" in done.output
    written(folder, cells())
    left_by_its_job(tmp_path / "demo")
    assert CliRunner().invoke(app, call).exit_code == 0
    assert CliRunner().invoke(app, [*call, "hoebel2019"]).exit_code == 1
    rows = cells()
    rows["Heart (L_CE)", "Dice I"]["reproduced"] = "2"
    written(folder, rows)
    assert "edited or damaged" in CliRunner().invoke(app, call).output
    left_by_its_job(tmp_path / "demo")
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 1
    assert "violated: range" in done.output
