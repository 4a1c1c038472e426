"""cells.csv: one row per printed number, with a value or a reason, a verdict, and what it was made of."""

import numpy as np
import pandas as pd
import pytest
import synthetic

from segtrail.errors import ArtifactError, ConfigError
from segtrail.studies import cells, published, schema, verdicts
from segtrail.studies.published import Printed

STUDY = synthetic.study()
RUN = synthetic.run(STUDY)
PRINTED = published.read(synthetic.CONFIG / "published" / f"{synthetic.NAME}.csv")
MEASURES = synthetic.measures(STUDY, 6)
MEMBERS = synthetic.members(STUDY)
SUBJECTS = synthetic.subjects(STUDY, 6)


def computed(printed=PRINTED, run=RUN, measures=MEASURES, members=MEMBERS, subjects=SUBJECTS) -> pd.DataFrame:
    table = cells.compute(run, synthetic.NAME, printed, measures, members, subjects)
    return table.set_index(["table", "row", "column"])


def only(*places: tuple[str, str, str]) -> list[Printed]:
    return [one for one in PRINTED if one.place in places]


NLL = ("Table II", "Heart (L_CE)", "NLL")
DICE = ("Table II", "Heart (EN L_DSC)", "Dice II")


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return computed()


def test_every_printed_number_has_a_row_with_a_value(table):
    assert list(table.index) == [one.place for one in PRINTED]
    assert table["reproduced"].notna().all()
    assert list(table["published"]) == [one.value for one in PRINTED]


def test_a_value_is_the_mean_over_cases_of_their_mean_over_draws(table):
    rows = MEASURES.query(
        "cohort == 'heart' and part == 'test' and predictor == 'dice_ensemble' and size == 5 "
        "and measure == 'dice' and segment == 2"
    )
    per_case = rows.groupby("subject")["value"].mean()
    cell = table.loc[DICE]
    assert cell["reproduced"] == pytest.approx(per_case.mean())
    assert (cell["lo"], cell["hi"]) == pytest.approx(tuple(np.percentile(per_case, [2.5, 97.5])))
    assert cell["boot_lo"] < cell["reproduced"] < cell["boot_hi"]
    assert cell["n"] == 6
    assert "M=5 here, M=50 in the paper" in cell["reason"]


def test_per_cent_and_the_other_brier(table):
    ece = MEASURES.query(
        "cohort == 'heart' and part == 'test' and predictor == 'ce' and measure == 'ece_conf' "
        "and region == 'box'"
    )["value"]
    assert table.loc[("Table II", "Heart (L_CE)", "ECE%"), "reproduced"] == pytest.approx(100 * ece.mean())
    brier = table.loc[("Table II", "Heart (L_CE)", "Brier")]
    assert brier["beside_measure"] == "brier_mean"
    assert brier["beside"] == pytest.approx(brier["reproduced"] / 4)


def test_dead_members_are_counted(table):
    assert table.loc[("Table II", "Heart (L_DSC)", "NLL"), "dead_members"] == 1
    assert "1 of 6 members never learnt a class" in table.loc[("Table II", "Heart (L_DSC)", "NLL"), "reason"]
    assert table.loc[NLL, "dead_members"] == 0


def test_patients_are_counted_without_the_excluded():
    subjects = SUBJECTS.copy()
    test = (subjects["cohort"] == "heart") & (subjects["part"] == "test")
    subjects.loc[subjects.index[test][:2], "excluded"] = "truncated"
    both = computed(only(("Table I", "Heart/ACDC", "test"), NLL), subjects=subjects)
    assert both.loc[("Table I", "Heart/ACDC", "test"), ["reproduced", "n_excluded"]].tolist() == [4.0, 2]
    assert both.loc[NLL, "n_excluded"] == 2


def test_two_frames_of_one_patient_count_once():
    subjects = SUBJECTS.assign(patient="same")
    one = computed(only(("Table I", "Heart/ACDC", "test")), subjects=subjects)
    assert one["reproduced"].item() == 1


def test_undefined_cases_are_left_out_and_counted():
    measures = MEASURES.copy()
    heart = (measures["cohort"] == "heart") & (measures["predictor"] == "dice_ensemble")
    dice = heart & (measures["measure"] == "dice") & (measures["segment"] == 2) & (measures["size"] == 5)
    measures.loc[dice & (measures["subject"] == "test000"), "value"] = np.nan
    measures.loc[dice & (measures["subject"] == "test001") & (measures["draw"] == 0), "value"] = np.nan
    cell = computed(only(DICE), measures=measures).loc[DICE]
    assert (cell["n"], cell["n_undefined"]) == (5, 1)
    assert "undefined in 4 of 18 predictions" in cell["reason"]
    left = measures[dice & (measures["part"] == "test")].groupby("subject")["value"].mean().dropna()
    assert cell["reproduced"] == pytest.approx(left.mean())


def test_a_measure_undefined_in_every_case_says_so():
    measures = MEASURES.assign(value=np.nan)
    cell = computed(only(DICE), measures=measures).loc[DICE]
    assert np.isnan(cell["reproduced"])
    assert cell["verdict"] == verdicts.NOT_COMPUTED
    assert "undefined in every case" in cell["reason"]
    assert (cell["n"], cell["n_undefined"]) == (0, 6)


def test_one_case_has_a_mean_and_no_interval_of_it():
    one = MEASURES[MEASURES["subject"] == "test000"]
    cell = computed(only(DICE), measures=one).loc[DICE]
    assert cell["n"] == 1
    assert np.isfinite(cell["reproduced"])
    assert np.isnan(cell["boot_lo"])


def test_a_cohort_that_is_left_out_gives_its_reason():
    heart = STUDY.model_copy(update={"cohorts": {"heart": STUDY.cohorts["heart"]}})
    reason = "no data root is set for brats17 (config: data)"
    run = synthetic.run(heart, absent=dict.fromkeys(("brain", "prostate", "prostate3d"), reason))
    table = computed(run=run, measures=MEASURES[MEASURES["cohort"] == "heart"])
    brain = table[table.index.get_level_values("row").str.startswith("Brain")]
    assert brain["reproduced"].isna().all()
    assert brain["reason"].str.contains(reason, regex=False).all()
    assert (brain["verdict"] == verdicts.NOT_COMPUTED).all()
    correlation = table.loc[("text", "-", "r max")]
    assert np.isnan(correlation["reproduced"])
    assert table.loc[DICE, "verdict"] != verdicts.NOT_COMPUTED


def test_a_size_that_the_run_does_not_have_is_not_replaced():
    study = synthetic.study({"predictors": {"dice_ensemble": {"sizes": [1, 2], "table_size": 2, "maps": []}}})
    cell = computed(only(("text", "-", "NLL reduction M=5 heart %")), run=synthetic.run(study)).iloc[0]
    assert np.isnan(cell["reproduced"])
    assert "size 5 of dice_ensemble is not among this run's sizes in heart (1, 2)" in cell["reason"]


def test_reduction_is_of_the_means_over_the_same_cases(table):
    rows = MEASURES.query(
        "cohort == 'heart' and part == 'test' and predictor == 'dice_ensemble' and measure == 'nll' "
        "and region == 'box'"
    )
    mean = rows.groupby(["size", "subject"])["value"].mean().groupby("size").mean()
    cell = table.loc[("text", "-", "NLL reduction M=5 heart %")]
    assert cell["reproduced"] == pytest.approx(100 * (1 - mean[5] / mean[1]))
    assert cell["boot_lo"] < cell["reproduced"] < cell["boot_hi"]


def test_a_reduction_counts_the_cases_that_it_leaves_out():
    measures = MEASURES.copy()
    place = ("text", "-", "NLL reduction M=5 heart %")
    mine = (measures["measure"] == "nll") & (measures["region"] == "box") & (measures["subject"] == "test000")
    measures.loc[mine, "value"] = np.nan
    whole, less = (computed(only(place), measures=found).iloc[0] for found in (MEASURES, measures))
    assert (less["n"], less["n_undefined"]) == (whole["n"] - 1, 1)
    assert whole["n_undefined"] == 0


def test_correlations_keep_a_wrong_sign():
    measures = MEASURES.copy()
    entropy = measures["measure"] == "seg_entropy"
    measures.loc[entropy, "value"] = 0.7 - measures.loc[entropy, "value"]
    found = computed(
        only(("text", "-", "r max"), ("text", "-", "r min (logit Dice vs entropy)")), measures=measures
    )
    assert (found["reproduced"] < 0).all()
    assert (found["lo"] < found["reproduced"]).all()


def test_row_order_does_not_change_a_byte():
    some = only(NLL, DICE, ("text", "-", "r max"), ("text", "-", "NLL reduction M=5 brain %"))
    shuffled = computed(some, measures=MEASURES.sample(frac=1, random_state=3))
    assert shuffled.to_csv() == computed(some).to_csv()


def test_another_seed_moves_only_the_bootstrap():
    some = only(DICE)
    other = computed(some, run=synthetic.run(STUDY, seed=2)).loc[DICE]
    mine = computed(some).loc[DICE]
    assert other["boot_lo"] != mine["boot_lo"]
    assert other["reproduced"] == mine["reproduced"]


def test_a_phantom_run_is_never_compared():
    table = computed(run=synthetic.run(STUDY, phantom=True))
    assert set(table["verdict"]) == {verdicts.PHANTOM}
    assert "print the same 9 numbers" in table.loc[("Table II", "Brain (L_DSC)", "NLL"), "reason"]


def judged(ours: float | None, value: str, lo: str = "", hi: str = "", against=None, fault=None) -> str:
    one = Printed(*DICE, value, lo, hi)
    cell = published.recipe(one, STUDY)
    return verdicts.judge(RUN, one, cell, ours, against, fault)[0]


@pytest.mark.parametrize(
    ("ours", "interval", "other", "expected"),
    [
        (0.60, ("0.59", "0.91"), None, verdicts.WITHIN),
        (0.59, ("0.59", "0.91"), None, verdicts.WITHIN),
        (0.50, ("0.59", "0.91"), ("0.81", 0.45), verdicts.DIRECTION),
        (0.50, ("0.59", "0.91"), ("0.81", 0.55), verdicts.OUTSIDE),
        (0.50, ("0.59", "0.91"), ("0.83", 0.45), verdicts.OUTSIDE),
        (0.50, ("0.59", "0.91"), ("0.81", None), verdicts.OUTSIDE),
        (0.71, ("", ""), None, verdicts.WITHIN),
        (0.70, ("", ""), None, verdicts.OUTSIDE),
        (None, ("", ""), None, verdicts.NOT_COMPUTED),
    ],
)
def test_verdicts(ours, interval, other, expected):
    against = None if other is None else (Printed("Table II", "Heart (L_DSC)", "Dice II", other[0]), other[1])
    assert judged(ours, "0.83", *interval, against=against) == expected


def test_an_impossible_number_is_no_target():
    assert judged(0.83, "0.83", "0.59", "0.91", fault="no probabilities give it") == verdicts.IMPOSSIBLE


def test_an_impossible_number_gives_no_direction():
    place = ("Table II", "Brain (MCDO L_DSC)", "NLL")
    against = ("Table II", "Brain (L_DSC)", "NLL")
    measures = MEASURES.copy()
    nll = (
        (measures["cohort"] == "brain")
        & (measures["predictor"] == "dice_mcdo")
        & (measures["measure"] == "nll")
    )
    measures.loc[nll, "value"] = 9.0
    copied = computed(measures=measures)
    assert copied.loc[against, "verdict"] == verdicts.IMPOSSIBLE
    assert copied.loc[place, "verdict"] == verdicts.OUTSIDE
    honest = [one for one in PRINTED if one.row != "Heart (L_DSC)"]
    assert computed(honest, measures=measures).loc[place, "verdict"] == verdicts.DIRECTION


def test_a_printed_number_that_the_study_does_not_describe_is_refused():
    stray = Printed("Table IX", "Liver", "Dice", "0.9")
    with pytest.raises(ConfigError, match="Table IX / Liver / Dice"):
        computed([stray])


def test_written_twice_in_two_places_the_bytes_are_equal(tmp_path):
    texts = []
    for name in ("first", "second"):
        folder = tmp_path / name
        synthetic.write(folder, STUDY, 3)
        cells.write_cells(
            RUN,
            synthetic.NAME,
            **{
                name: folder / f"{name}.parquet"
                for name in ("measures", "reliability", "errors", "members", "subjects")
            },
            published=synthetic.CONFIG / "published" / f"{synthetic.NAME}.csv",
            out=folder / "cells.csv",
            unprinted=folder / "unprinted.csv",
        )
        texts.append((folder / "cells.csv").read_bytes())
    assert texts[0] == texts[1]
    assert schema.read_csv(tmp_path / "first" / "unprinted.csv", schema.CELLS).empty
    again = schema.read_csv(tmp_path / "first" / "cells.csv", schema.CELLS)
    assert again["published"].iloc[0] == "0.52"
    assert again["n"].dtype == "Int64"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda table: table.drop(columns="region"), "region"),
        (lambda table: table.assign(part="exam"), "part"),
        (lambda table: pd.concat([table, table.iloc[:1]]), "two rows for one"),
    ],
)
def test_measures_that_are_not_as_they_should_be_are_refused(tmp_path, change, found):
    path = tmp_path / "measures.parquet"
    change(MEASURES.head(50)).to_parquet(path)
    with pytest.raises(ArtifactError, match=found) as caught:
        schema.read(path, schema.MEASURES)
    assert str(path) in str(caught.value)


def test_a_truncated_parquet_is_refused(tmp_path):
    path = tmp_path / "measures.parquet"
    MEASURES.head(50).to_parquet(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ArtifactError, match=r"measures\.parquet"):
        schema.read(path, schema.MEASURES)
