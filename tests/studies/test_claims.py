"""Claims are supported, refused or left undecided by measures that were made to say so."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import synthetic

from segtrail import config
from segtrail.config.claims import Claim
from segtrail.studies import claims, published, schema
from segtrail.studies.comparisons import Result

PRINTED = published.read(synthetic.CONFIG / "published" / f"{synthetic.NAME}.csv")
STUDY = synthetic.study()
# Enough cases that Holm's correction can be passed.
CASES = 24
MEASURES = synthetic.measures(STUDY, CASES)


def claim(*parts: dict, name: str = "one") -> dict:
    return {"id": name, "text": "A is better than B.", "where": "§VII", "parts": list(parts)}


def paired(a, b, **more) -> dict:
    return {"kind": "paired", "cohorts": ["heart"], "a": a, "b": [b], "measures": ["dice"]} | more


def evaluated(
    *stated: dict,
    measures: pd.DataFrame = MEASURES,
    run: config.Run | None = None,
    printed: list[published.Printed] = PRINTED,
) -> pd.DataFrame:
    study = STUDY.model_copy(update={"claims": [Claim.model_validate(one) for one in stated]})
    return claims.compute(run or synthetic.run(study), synthetic.NAME, printed, measures)


def shifted(by: float, **where) -> pd.DataFrame:
    """The measures with `by` added to the chosen rows."""
    measures = MEASURES.copy()
    chosen = np.logical_and.reduce([measures[key] == value for key, value in where.items()])
    measures.loc[chosen, "value"] += by
    return measures


def test_a_better_predictor_supports_and_a_worse_one_refuses():
    forward, backward = (
        evaluated(claim(paired("dice_ensemble", "ce"))),
        evaluated(claim(paired("ce", "dice_ensemble"))),
    )
    assert set(forward["claim_verdict"]) == {"supported"}
    assert set(forward["direction"]) == {"as claimed"}
    assert set(backward["claim_verdict"]) == {"refused"}
    assert np.allclose(forward["effect"], -backward["effect"])
    assert list(forward["segment"]) == ["right ventricle", "myocardium", "left ventricle"]


def test_lower_is_better_for_losses():
    table = evaluated(claim(paired("ce_ensemble", "ce", measures=["nll", "hd95"], regions=["box", "volume"])))
    assert (table["effect"] < 0).all()
    assert set(table["verdict"]) == {"supported"}
    assert list(table["region"]) == ["box", "volume", "volume", "volume", "volume"]


def test_the_effect_is_the_mean_difference_of_the_same_subjects():
    table = evaluated(claim(paired("dice", "ce")))
    rows = MEASURES.query("cohort == 'heart' and part == 'test' and measure == 'dice' and segment == 1")
    per_case = rows.groupby(["predictor", "subject"])["value"].mean()
    expected = (per_case["dice"] - per_case["ce"]).mean()
    assert table["effect"].iloc[0] == pytest.approx(expected)
    assert table["lo"].iloc[0] < expected < table["hi"].iloc[0]
    assert table["n"].iloc[0] == CASES


def test_one_part_against_it_refuses_the_whole_claim():
    worse = shifted(-0.9, cohort="heart", predictor="dice_ensemble", measure="dice", segment=3)
    table = evaluated(claim(paired("dice_ensemble", "ce")), measures=worse)
    assert list(table["verdict"]) == ["supported", "supported", "refused"]
    assert set(table["claim_verdict"]) == {"refused"}


def test_equal_predictors_leave_it_undecided():
    same = MEASURES[MEASURES["predictor"] == "ce"].assign(predictor="dice")
    table = evaluated(
        claim(paired("dice", "ce")), measures=pd.concat([same, MEASURES[MEASURES["predictor"] == "ce"]])
    )
    assert set(table["verdict"]) == {"undecided"}
    assert set(table["direction"]) == {"no difference"}
    assert (table["p_corrected"] == 1).all()


def test_few_cases_support_nothing_however_clear():
    few = MEASURES[MEASURES["subject"].isin(["test000", "test001", "test002"])]
    table = evaluated(claim(paired("dice_ensemble", "ce")), measures=few)
    assert set(table["verdict"]) == {"undecided"}
    assert set(table["direction"]) == {"as claimed"}
    assert (table["p"] >= 0.25).all()


def test_one_case_has_no_p():
    table = evaluated(
        claim(paired("dice_ensemble", "ce")), measures=MEASURES[MEASURES["subject"] == "test000"]
    )
    assert table["p"].isna().all()
    assert set(table["verdict"]) == {"undecided"}
    assert table["reason"].str.contains("too few").all()


def test_a_study_without_claims_has_an_empty_table(tmp_path):
    table = evaluated()
    assert table.empty
    table.to_csv(tmp_path / "claims.csv", index=False)
    assert list(schema.read_csv(tmp_path / "claims.csv", schema.CLAIMS).columns) == list(table.columns)


@pytest.mark.parametrize(("phantom", "named"), [(True, "phantom"), (False, "real")])
def test_every_row_says_what_data_it_comes_from(phantom, named):
    stated = claim(paired("dice_ensemble", "ce"))
    study = STUDY.model_copy(update={"claims": [Claim.model_validate(stated)]})
    run = synthetic.run(study, phantom=phantom)
    table = evaluated(stated, run=run)
    assert set(table["data"]) == {named}


def test_correction_is_over_all_parts_of_the_study():
    alone = evaluated(claim(paired("dice", "ce")))
    among = evaluated(
        claim(paired("dice", "ce")),
        claim(paired("ce_mcdo", "dice_mcdo", cohorts=["brain", "prostate"], measures=["nll"]), name="other"),
    )
    first = among[among["claim"] == "one"]
    assert len(among) == len(alone) + 2
    assert (first["p_corrected"].to_numpy() >= alone["p_corrected"].to_numpy()).all()
    assert (among["p_corrected"] >= among["p"]).all()


def test_a_size_outside_the_run_is_said_and_decides_nothing():
    table = evaluated(claim(paired({"predictor": "dice_ensemble", "size": 10}, "ce", measures=["nll"])))
    assert set(table["claim_verdict"]) == {"undecided"}
    assert table["reason"].str.contains("size 10 of dice_ensemble is not among this run's sizes").all()
    assert table["effect"].isna().all()


def test_a_cohort_outside_the_run_is_said_and_decides_nothing():
    study = STUDY
    part = Claim.model_validate(claim(paired("dice_ensemble", "ce", cohorts=["brain", "heart"])))
    heart = study.model_copy(update={"cohorts": {"heart": study.cohorts["heart"]}, "claims": [part]})
    run = synthetic.run(heart, absent={"brain": "no data root is set for brats17"})
    table = evaluated(run=run, measures=MEASURES[MEASURES["cohort"] == "heart"])
    assert list(table["cohort"]) == ["brain", "heart", "heart", "heart"]
    assert table["reason"].iloc[0] == "no data root is set for brats17"
    assert list(table["verdict"]) == ["undecided"] + 3 * ["supported"]
    assert set(table["claim_verdict"]) == {"undecided"}


def test_shift_compares_other_cases():
    table = evaluated(
        claim(
            {
                "kind": "unpaired",
                "a": {"cohort": "prostate", "part": "test", "predictor": "dice_ensemble"},
                "b": {"cohort": "prostate", "part": "shift", "predictor": "dice_ensemble"},
                "measures": ["dice", "seg_entropy"],
            }
        )
    )
    assert set(table["claim_verdict"]) == {"supported"}
    assert table["effect"].iloc[0] > 0 > table["effect"].iloc[1]
    assert (table["n"] == 2 * CASES).all()


CLOUD = {
    "kind": "correlation",
    "predictor": "dice_ensemble",
    "groups": [{"cohort": "heart", "segments": [1, 2, 3]}],
}


def test_correlation_needs_the_sign_and_the_size():
    assert evaluated(claim(CLOUD | {"at_least": 0.5}))["claim_verdict"].item() == "supported"
    assert evaluated(claim(CLOUD | {"at_least": 0.999}))["claim_verdict"].item() == "refused"
    measures = MEASURES.copy()
    entropy = measures["measure"] == "seg_entropy"
    measures.loc[entropy, "value"] *= -1
    table = evaluated(claim(CLOUD), measures=measures)
    assert table["claim_verdict"].item() == "refused"
    assert table["direction"].item() == "opposite"


def test_reduction_has_to_be_about_as_large_as_claimed():
    part = {
        "kind": "reduction",
        "predictor": "dice_ensemble",
        "sizes": [1, 5],
        "measure": "nll",
        "region": "box",
    }
    measured = evaluated(claim(part | {"percent": {"heart": 50}}))["effect"].item()
    assert 0 < measured < 100
    verdicts = {
        percent: evaluated(claim(part | {"percent": {"heart": percent}}))["claim_verdict"].item()
        for percent in (measured, measured * 0.3, measured * 1.8)
    }
    assert list(verdicts.values()) == ["supported", "refused", "refused"]


def test_failures_are_compared_with_the_other_cases():
    part = {"kind": "failures", "predictor": "dice_ensemble", "cohorts": ["heart"], "dice": 0.05}
    without = evaluated(claim(part))
    assert without["reason"].str.contains("0 and 24 cases are too few").all()
    measures = MEASURES.copy()
    failed = (
        (measures["cohort"] == "heart")
        & (measures["part"] == "test")
        & measures["subject"].isin([f"test{number:03d}" for number in range(8)])
    )
    measures.loc[failed & (measures["measure"] == "dice"), "value"] = 0.0
    measures.loc[failed & (measures["measure"] == "seg_entropy"), "value"] = 0.69
    silent = failed & (measures["subject"] == "test000") & (measures["measure"] == "seg_entropy")
    measures.loc[silent, "value"] = np.nan
    table = evaluated(claim(part), measures=measures)
    assert set(table["claim_verdict"]) == {"supported"}
    assert (table["n"] == CASES - 1).all()
    assert table["reason"].str.contains("1 more failed without a predicted segment").all()


# --- the same in print ---------------------------------------------------------------------------------


def reprinted(table: str, column: str, **values: str | None) -> list[published.Printed]:
    """The printed numbers with some of the heart's in one column changed; None: not printed. `ce` is L_CE."""
    rows = {"ce": "Heart (L_CE)", "dice": "Heart (L_DSC)", "dice_ensemble": "Heart (EN L_DSC)"}
    changed = {(table, rows[name], column): value for name, value in values.items()}
    return [
        replace(one, value=changed.get(one.place, one.value))
        for one in PRINTED
        if changed.get(one.place, one.value) is not None
    ]


def test_the_printed_difference_stands_beside_ours():
    table = evaluated(
        claim(paired("ce", "dice", cohorts=["prostate", "brain"], measures=["ece_conf"], regions=["box"]))
    )
    # Printed: prostate 8.08 % and 5.72 %, against the claim; the brain's Dice row is a copy and no target.
    assert table["printed_effect"].iloc[0] == pytest.approx(0.0808 - 0.0572)
    assert list(table["printed_verdict"]) == ["opposite", "impossible as printed"]
    assert "rows Brain (L_DSC) and Heart (L_DSC) print the same" in table["printed_reason"].iloc[1]
    assert np.isnan(table["printed_effect"].iloc[1])
    assert set(table["claim_printed_verdict"]) == {"refused"}


@pytest.mark.parametrize(
    ("ce", "dice", "expected"),
    [
        ("0.31", "0.32", "as claimed"),
        ("0.33", "0.32", "opposite"),
        ("0.32", "0.32", "equal"),
        # 0.3 may be anything from 0.25 to 0.35; 0.4 is at least 0.35.
        ("0.3", "0.32", "equal"),
        ("0.4", "0.34", "opposite"),
        ("0.32", None, "not printed"),
        ("1.7", "0.32", "impossible as printed"),
    ],
)
def test_printed_numbers_give_a_direction_as_far_as_their_digits_tell(ce, dice, expected):
    numbers = reprinted("Suppl Table III", "NLL")  # nothing changed
    assert numbers == PRINTED
    dices = reprinted("Table II", "Dice II", ce=ce, dice=dice)
    table = evaluated(claim(paired("dice", "ce")), printed=dices)
    assert list(table["printed_verdict"]) == ["as claimed", expected, "as claimed"]
    told = expected in ("as claimed", "opposite", "equal")
    assert np.isfinite(table["printed_effect"].iloc[1]) == told
    assert (table["printed_reason"].iloc[1] == "") == (expected in ("as claimed", "opposite"))


def test_what_is_not_printed_is_named():
    part = paired({"predictor": "dice_ensemble", "size": 2}, "ce", measures=["nll"], regions=["box"])
    table = evaluated(claim(part))
    assert table["printed_reason"].item() == "not printed: nll of dice_ensemble M=2 on heart test (box)"
    table = evaluated(claim(CLOUD))
    assert table["printed_verdict"].item() == "not printed"
    assert (
        table["printed_reason"].item() == "only printed means are compared, and this is of kind correlation"
    )
    assert table["claim_printed_verdict"].item() == "cannot be told"


def test_a_printed_mean_over_segments_is_that_of_their_means():
    part = {
        "kind": "unpaired",
        "a": {"cohort": "heart", "predictor": "dice_ensemble"},
        "b": {"cohort": "prostate", "predictor": "dice_ensemble"},
        "measures": ["dice"],
    }
    means = {one.place: one.number for one in PRINTED if one.table == "Table II"}
    heart = np.mean([means["Table II", "Heart (EN L_DSC)", f"Dice {i}"] for i in ("I", "II", "III")])
    prostate = means["Table II", "Prostate (EN L_DSC)", "Dice I"]
    table = evaluated(claim(part))
    assert table["printed_effect"].item() == pytest.approx(heart - prostate)
    assert table["printed_verdict"].item() == ("as claimed" if heart > prostate else "opposite")
    one_missing = reprinted("Table II", "Dice II", dice_ensemble=None)
    assert evaluated(claim(part), printed=one_missing)["printed_verdict"].item() == "not printed"


@pytest.mark.parametrize(
    ("second", "third", "expected"),
    [
        (("0.4", "0.5"), ("0.4", "0.5"), "supported"),
        (("0.4", "0.5"), ("0.4", "0.4"), "supported as far as printed"),
        (("0.4", "0.5"), ("0.4", None), "supported as far as printed"),
        (("0.4", "0.5"), ("0.5", "0.4"), "mixed"),
        (("0.5", "0.4"), ("0.4", None), "mixed"),
    ],
)
def test_a_claim_in_print_is_what_its_comparisons_are(second, third, expected):
    """The first segment is as claimed in all of them."""
    numbers = {one.place: one for one in reprinted("Table II", "Dice II", ce=second[0], dice=second[1])}
    numbers |= {
        one.place: one
        for one in reprinted("Table II", "Dice III", ce=third[0], dice=third[1])
        if one.place[2] == "Dice III"
    }
    if third[1] is None:
        numbers.pop(("Table II", "Heart (L_DSC)", "Dice III"))
    table = evaluated(claim(paired("dice", "ce")), printed=list(numbers.values()))
    assert set(table["claim_printed_verdict"]) == {expected}


def test_numbers_against_a_sentence_refuse_it_in_print_whatever_ours_say():
    table = evaluated(claim(paired("ce", "dice")))
    assert set(table["printed_verdict"]) == {"opposite"}
    assert set(table["claim_printed_verdict"]) == {"refused"}
    better = evaluated(
        claim(paired("dice_ensemble", "ce")), measures=shifted(-0.9, predictor="dice_ensemble")
    )
    assert set(better["claim_verdict"]) == {"refused"}
    assert set(better["claim_printed_verdict"]) == {"supported"}


@pytest.mark.parametrize(
    ("effect", "lo", "hi", "p", "limits", "expected"),
    [
        (-2.0, -3.0, -1.0, 0.001, None, "supported"),
        (2.0, 1.0, 3.0, 0.001, None, "refused"),
        (-2.0, -5.0, 1.0, 0.2, None, "undecided"),
        (-2.0, -3.0, -1.0, 0.001, (1.0, 2.5), "supported"),
        (-2.0, -3.0, -1.0, 0.001, (2.2, 2.5), "undecided"),
        (-2.0, -3.0, -1.0, 0.001, (4.0, 5.0), "refused"),
        (np.nan, np.nan, np.nan, np.nan, None, "undecided"),
    ],
)
def test_verdict_of_a_part_where_less_is_claimed(effect, lo, hi, p, limits, expected):
    result = Result("paired", "heart", sign=-1, effect=effect, lo=lo, hi=hi, limits=limits)
    assert claims.verdict(result, p, 0.01) == expected


def test_all_claims_of_the_study_are_tested_and_written_alike_twice(tmp_path):
    study = STUDY
    texts = []
    for name in ("first", "second"):
        folder = tmp_path / name
        synthetic.write(folder, study, 4)
        claims.write_claims(
            synthetic.run(study),
            synthetic.NAME,
            measures=folder / "measures.parquet",
            reliability=folder / "reliability.parquet",
            errors=folder / "errors.parquet",
            published=synthetic.CONFIG / "published" / f"{synthetic.NAME}.csv",
            out=folder / "claims.csv",
        )
        texts.append((folder / "claims.csv").read_bytes())
    assert texts[0] == texts[1]
    table = schema.read_csv(tmp_path / "first" / "claims.csv", schema.CLAIMS)
    assert list(table["claim"].unique()) == [one.id for one in study.claims]
    assert (table["effect"].notna() | (table["reason"] != "")).all()
