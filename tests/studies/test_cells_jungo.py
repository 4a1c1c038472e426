"""Cells at thresholds, of pooled bins, of shares of subjects; ranks; and numbers that are not in print."""

import math

import numpy as np
import pandas as pd
import pytest
import synthetic
import synthetic_jungo
from scipy.stats import rankdata

from segtrail.errors import ConfigError
from segtrail.studies import cells, published, schema, verdicts
from segtrail.studies.cases import Cases
from segtrail.studies.published import Printed
from segtrail.studies.values import Source

STUDY = synthetic_jungo.study()
NAME = synthetic_jungo.NAME
PRINTED = published.read(synthetic.CONFIG / "published" / f"{NAME}.csv")
COUNT = 9
MEASURES = synthetic_jungo.measures(STUDY, COUNT)
ERRORS = synthetic_jungo.errors(STUDY, COUNT)
RELIABILITY = synthetic_jungo.reliability(STUDY, COUNT)
MEMBERS = synthetic_jungo.members(STUDY)
SUBJECTS = synthetic_jungo.subjects(STUDY, COUNT)
METHODS = list(synthetic_jungo.METHODS)


def source(study=STUDY, reliability=RELIABILITY, errors=ERRORS, measures=MEASURES, **run) -> Source:
    made = synthetic_jungo.run(study, **run)
    return Source(NAME, Cases.of(made, NAME, measures, errors, reliability), MEMBERS, SUBJECTS)


def indexed(table: pd.DataFrame) -> pd.DataFrame:
    return table.set_index(["table", "row", "column"])


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return indexed(cells.printed_cells(source(), PRINTED))


@pytest.fixture(scope="module")
def unprinted() -> pd.DataFrame:
    return indexed(cells.unprinted_cells(source()))


def test_every_printed_number_has_a_value(table):
    assert list(table.index) == [one.place for one in PRINTED]
    assert table["reproduced"].notna().all()
    assert (table["n"] == COUNT).all()


def errors_of(predictor: str, part: str = "test") -> pd.DataFrame:
    """u_e by subject and threshold, from the counts."""
    rows = ERRORS.query("cohort == 'brats' and predictor == @predictor and part == @part").copy()
    wrong, found = rows.fp + rows.fn, rows.fpu + rows.fnu
    rows["u_e"] = 2 * found / (wrong + found + rows.tpu + rows.tnu)
    return rows.pivot(index="subject", columns="threshold", values="u_e")


def test_overlap_is_told_at_the_best_threshold_of_the_test_part_and_beside_it_at_that_of_validation(table):
    curves, val = errors_of("ensemble"), errors_of("ensemble", "val")
    best, on_val = curves.mean().idxmax(), val.mean().idxmax()
    cell = table.loc["Table 1", "ensemble", "BraTS U-E"]
    assert cell["reproduced"] == pytest.approx(curves[best].mean())
    assert (cell["lo"], cell["hi"]) == pytest.approx(tuple(np.percentile(curves[best], [2.5, 97.5])))
    assert cell["boot_lo"] < cell["reproduced"] < cell["boot_hi"]
    assert (cell["beside_measure"], cell["beside"]) == ("u_e_val", pytest.approx(curves[on_val].mean()))
    assert f"u_e at the threshold {best:g}, the best of the test part" in cell["reason"]
    assert f"u_e_val at the threshold {on_val:g}, the best of the val part" in cell["reason"]


def test_a_study_that_picks_its_thresholds_on_validation_has_one_number_for_both():
    picked = STUDY.model_copy(
        update={
            "measures": STUDY.measures.model_copy(
                update={"errors": STUDY.measures.errors.model_copy(update={"picked_on": "val"})}
            )
        }
    )
    only = [one for one in PRINTED if one.column == "BraTS U-E"]
    found = cells.printed_cells(source(picked), only)
    assert (found["reproduced"] == found["beside"]).all()
    assert found["reason"].str.contains("u_e at the threshold .*, the best of the val part").all()


def test_without_a_validation_part_the_number_stays_and_says_what_is_missing_beside_it():
    errors = ERRORS[ERRORS["part"] == "test"]
    only = [one for one in PRINTED if one.place == ("Table 1", "center", "ISIC BnF")]
    found = cells.printed_cells(source(errors=errors), only).iloc[0]
    assert found["reproduced"] >= 0
    assert math.isnan(found["beside"])
    assert "no errors of center with size 1 on isic val were counted" in found["reason"]


def test_benefit_is_the_share_of_subjects_that_gain(table):
    rows = ERRORS.query("cohort == 'isic' and predictor == 'center' and part == 'test'")
    gains = 2 * (rows.tp - rows.tpu) / (2 * (rows.tp - rows.tpu) + (rows.fp - rows.fpu) + rows.fn + rows.tpu)
    better = gains > 2 * rows.tp / (2 * rows.tp + rows.fp + rows.fn)
    best = better.groupby(rows["threshold"]).mean().max()
    assert table.loc[("Table 1", "center", "ISIC BnF"), "reproduced"] == pytest.approx(best)


def test_calibration_of_brats_is_that_inside_the_mask(table):
    rows = MEASURES.query(
        "cohort == 'brats' and part == 'test' and predictor == 'center' and measure == 'ece_fg'"
    )
    by_region = rows.groupby("region")["value"].mean()
    cell = table.loc["Table 1", "center", "BraTS ECE%"]
    assert cell["reproduced"] == pytest.approx(100 * by_region["mask"])
    assert by_region["mask"] != pytest.approx(by_region["volume"])


# --- all subjects together ----------------------------------------------------------------------------


def bins_of(cohort: str, predictor: str) -> np.ndarray:
    """(subject, 3, bin): voxels, Σ p, foreground, of the test part, in the region that the study looks at."""
    region = "mask" if cohort == "brats" else "volume"
    rows = RELIABILITY.query("part == 'test' and of == 'foreground'")
    place = {"cohort": cohort, "predictor": predictor, "region": region}
    rows = rows[(rows[list(place)] == list(place.values())).all(axis=1)]
    result = np.zeros((COUNT, 3, 10))
    for row in rows.itertuples():
        result[int(row.subject[4:]), :, row.bin] = row.count, row.confidence, row.correct
    return result


def signed(bins: np.ndarray) -> float:
    """As the paper's code does it: means over the bins that hold voxels, by masked arrays."""
    n = np.ma.masked_equal(bins[0], 0)
    return float((bins[2] / n - bins[1] / n).mean())


def test_the_error_of_a_data_set_is_that_of_its_added_bins(unprinted):
    cell = unprinted.loc["Suppl table", "center", "BraTS data set ECE%"]
    n, p, positive = bins_of("brats", "center").sum(axis=0)
    assert cell["reproduced"] == pytest.approx(100 * np.abs(p - positive).sum() / n.sum())
    assert cell["boot_lo"] < cell["reproduced"] < cell["boot_hi"]
    assert math.isnan(cell["lo"])
    own = unprinted.loc["Suppl table", "center", "BraTS subject ECE%"]
    assert own["reproduced"] > cell["reproduced"], "what subjects are too high and too low by cancels"


@pytest.mark.parametrize("cohort", ["brats", "isic"])
def test_shares_of_miscalibrated_subjects_by_the_authors_rule(table, cohort):
    every = np.stack([bins_of(cohort, name) for name in METHODS])
    limit = np.percentile([signed(bins.sum(axis=0)) for bins in every], 90)
    scores = np.array([[signed(subject) for subject in bins] for bins in every]).mean(axis=0)
    title = {"brats": "BraTS", "isic": "ISIC"}[cohort]
    under = table.loc["text", "-", f"{title} underconfident %"]
    over = table.loc["text", "-", f"{title} overconfident %"]
    assert under["reproduced"] == pytest.approx(100 * (scores > limit).mean())
    assert over["reproduced"] == pytest.approx(100 * (scores < -limit).mean())
    assert 0 < under["reproduced"] < 100
    assert under["boot_lo"] <= under["reproduced"] <= under["boot_hi"]
    assert f"τ = {limit:.3g}" in under["reason"]
    assert ("τ is negative" in under["reason"]) == (limit < 0)
    models = {STUDY.predictors[name].model for name in METHODS}
    assert under["n_members"] == sum(STUDY.model(cohort, name).members for name in models)


def test_a_subject_without_voxels_in_the_region_is_not_judged():
    gone = (MEASURES["subject"] == "test003") & (MEASURES["measure"] == "signed_ce")
    measures = MEASURES.assign(value=MEASURES["value"].mask(gone))
    reliability = RELIABILITY[RELIABILITY["subject"] != "test003"]
    only = [one for one in PRINTED if one.place == ("text", "-", "BraTS underconfident %")]
    found = cells.printed_cells(source(measures=measures, reliability=reliability), only).iloc[0]
    assert (found["n"], found["n_undefined"]) == (COUNT - 1, 1)
    assert found["reproduced"] * (COUNT - 1) / 100 == pytest.approx(
        round(found["reproduced"] * (COUNT - 1) / 100)
    )


def test_pooled_numbers_need_their_tables():
    with pytest.raises(ValueError, match="no reliability"):
        cells.unprinted_cells(source(reliability=None))
    with pytest.raises(ValueError, match="no errors"):
        cells.printed_cells(source(errors=None), PRINTED)


# --- ranks ---------------------------------------------------------------------------------------------


def test_each_column_is_ranked_after_rounding_and_the_best_is_first(table):
    for column, digits, sign in (("BraTS ECE%", 3, 1), ("ISIC BnF", 2, -1), ("BraTS Dice", 3, -1)):
        found = table.xs(("Table 1", column), level=("table", "column"))
        expected = rankdata(sign * found["reproduced"].astype(float).round(digits), method="dense")
        assert found["rank"].tolist() == expected.tolist()
    assert table["published_rank"].loc["Table 1"].notna().all()
    assert table[["rank", "published_rank"]].loc["text"].isna().all(axis=None)
    same = table.xs("BraTS Dice", level="column")["rank"].droplevel("table")
    assert same["baseline"] == same["auxiliary feat."] == same["auxiliary segm."]


def test_a_rank_that_is_far_from_the_printed_one_is_told_of_real_runs_alone(table):
    apart = (table["rank"] - table["published_rank"]).abs() > 1
    assert apart.any()
    assert (table["reason"].str.contains(r"rank \d+ here, \d+ in the paper") == apart.fillna(False)).all()
    phantom = indexed(cells.printed_cells(source(phantom=True), PRINTED))
    assert not phantom["reason"].str.contains("rank").any()
    assert phantom["rank"].equals(table["rank"])


def test_a_row_that_is_not_computed_has_no_rank_and_the_others_close_up():
    measures = MEASURES[MEASURES["predictor"] != "ensemble"]
    found = indexed(cells.printed_cells(source(measures=measures), PRINTED))
    dice = found.xs("ISIC Dice", level="column").loc["Table 1"]
    assert pd.isna(dice.loc["ensemble", "rank"])
    assert dice.loc["ensemble", "published_rank"] == 1
    assert dice["rank"].min() == 1


# --- agreement, and what is not there -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "printed", "ours", "verdict", "told"),
    [
        ("BraTS Dice", "0.874", 0.8645, verdicts.WITHIN, "within 0.01 of the value"),
        ("BraTS Dice", "0.874", 0.8635, verdicts.OUTSIDE, "within 0.01 of the value"),
        ("BraTS ECE%", "0.9", 0.985, verdicts.WITHIN, "within 10 % of the value"),
        ("BraTS ECE%", "0.9", 0.995, verdicts.OUTSIDE, "within 10 % of the value"),
        ("ISIC BnF", "0.26", 0.19, verdicts.WITHIN, "within 0.08 of the value"),
    ],
)
def test_a_study_sets_how_near_is_near(column, printed, ours, verdict, told):
    one = Printed("Table 1", "baseline", column, printed)
    cell = published.recipe(one, STUDY)
    found, reasons = verdicts.judge(synthetic_jungo.run(STUDY), one, cell, ours, None, None)
    assert found == verdict
    assert told in reasons[0]


def test_shares_have_the_tolerance_of_a_study_that_sets_none():
    one = Printed("text", "-", "BraTS underconfident %", "28")
    judged = [
        verdicts.judge(synthetic_jungo.run(STUDY), one, published.recipe(one, STUDY), ours, None, None)[0]
        for ours in (24.0, 32.0, 23.5)
    ]
    assert judged == [verdicts.WITHIN, verdicts.WITHIN, verdicts.OUTSIDE]


def test_numbers_that_are_not_in_print_have_a_row_each(unprinted):
    assert len(unprinted) == 8 * 4
    assert set(unprinted["verdict"]) == {verdicts.NOT_PRINTED}
    assert (unprinted["published"] == "").all()
    assert unprinted[["rank", "published_rank"]].isna().all(axis=None)
    assert unprinted["boot_lo"].notna().all()


def test_a_cohort_that_the_run_leaves_out_is_missing_from_both_and_unranked():
    study = STUDY.model_copy(update={"cohorts": {"isic": STUDY.cohorts["isic"]}})
    found = source(study, absent={"brats": "no data root is set for brats18"})
    table = indexed(cells.printed_cells(found, PRINTED))
    missing = table[table["reproduced"].isna()]
    assert set(missing.index.get_level_values("column")) == {c for _, _, c in table.index if "BraTS" in c}
    assert set(missing["reason"]) == {"no data root is set for brats18"}
    assert missing["rank"].isna().all()
    assert table.xs("ISIC Dice", level="column")["rank"].notna().all()
    others = cells.unprinted_cells(found)
    assert set(others.loc[others["reproduced"].isna(), "verdict"]) == {verdicts.NOT_COMPUTED}
    assert others["reproduced"].notna().sum() == 16


def test_a_ranked_table_needs_columns_that_have_a_better_and_a_worse():
    values = STUDY.model_dump(mode="json")
    (text,) = (one for one in values["tables"] if one["name"] == "text")
    text["ranked"] = True
    with pytest.raises(ValueError, match="text is ranked"):
        type(STUDY).model_validate(values)


def test_both_files_come_out_the_same_in_whatever_order_the_rows_stand(tmp_path):
    written = []
    for name, shuffled in (("first", False), ("second", True)):
        folder = tmp_path / name
        synthetic_jungo.write(folder, STUDY, 4)
        tables = {one: folder / f"{one}.parquet" for one in ("measures", "reliability", "errors")}
        if shuffled:
            for path in tables.values():
                pd.read_parquet(path).sample(frac=1, random_state=3).to_parquet(path, index=False)
        cells.write_cells(
            synthetic_jungo.run(STUDY),
            NAME,
            **tables,
            members=folder / "members.parquet",
            subjects=folder / "subjects.parquet",
            published=synthetic.CONFIG / "published" / f"{NAME}.csv",
            out=folder / "cells.csv",
            unprinted=folder / "unprinted.csv",
        )
        written.append([(folder / f"{one}.csv").read_bytes() for one in ("cells", "unprinted")])
    assert written[0] == written[1]
    again = schema.read_csv(tmp_path / "first" / "cells.csv", schema.CELLS)
    assert again["rank"].dtype == "Int64"
    assert again["published_rank"].iloc[0] == 4


def test_a_printed_number_of_an_unknown_place_is_refused():
    with pytest.raises(ConfigError, match="Table 1 / focal"):
        cells.printed_cells(source(), [Printed("Table 1", "focal", "BraTS U-E", "0.9")])
