"""Comparisons of Jungo 2019's kinds, by invented tables and the paper's own numbers."""

import numpy as np
import pandas as pd
import pytest
import synthetic
import synthetic_jungo
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from segtrail.config.claims import Claim
from segtrail.studies import claims, published, ranks, schema
from segtrail.studies.cases import Cases
from segtrail.studies.comparisons.ranking import dense
from segtrail.studies.comparisons.single import Result, resampled, weighted_means

STUDY = synthetic_jungo.study()
COUNT = 24
TABLES = {
    name: getattr(synthetic_jungo, name)(STUDY, COUNT) for name in ("measures", "errors", "reliability")
}
PRINTED = published.read(synthetic.CONFIG / "published" / f"{synthetic_jungo.NAME}.csv")
METHODS = list(STUDY.predictors)
REGIONS = {"brats": "mask"}
BOTH = ["brats", "isic"]


def evaluated(*parts: dict, study=STUDY, absent=None, **tables: pd.DataFrame) -> pd.DataFrame:
    stated = {"id": "one", "text": "It is so.", "where": "§3", "parts": list(parts)}
    study = study.model_copy(update={"claims": [Claim.model_validate(stated)]})
    run = synthetic_jungo.run(study, absent=absent)
    found = TABLES | tables
    order = (found["measures"], found["errors"], found["reliability"])
    return claims.compute(run, synthetic_jungo.NAME, PRINTED, *order)


def with_values(measure: str, by_predictor: dict[str, np.ndarray], cohort: str = "isic") -> pd.DataFrame:
    """The measures with other values of one measure on the test part, one for each subject."""
    table = TABLES["measures"].copy()
    for name, values in by_predictor.items():
        chosen = (table["cohort"] == cohort) & (table["part"] == "test") & (table["measure"] == measure)
        chosen &= (table["predictor"] == name) & (table["region"] == "volume")
        table.loc[chosen, "value"] = values
    return table


def column(measure: str, predictor: str, cohort: str = "isic", region: str = "volume") -> np.ndarray:
    return (
        TABLES["measures"]
        .query("cohort == @cohort and part == 'test' and predictor == @predictor")
        .query("measure == @measure and region == @region")
        .sort_values("subject")["value"]
        .to_numpy()
    )


# --- equivalence -------------------------------------------------------------------------------------------

SPREAD = np.linspace(-0.002, 0.002, COUNT)
LEVEL = np.linspace(0.7, 0.9, COUNT)


def alike(**more) -> dict:
    return {"kind": "alike", "cohorts": ["isic"], "a": "center", "b": "baseline"} | more


@pytest.mark.parametrize(
    ("difference", "either_way", "expected", "direction"),
    [
        (0.0, True, "supported", "as claimed"),
        (-0.006, True, "supported", "as claimed"),
        (0.0099, True, "undecided", "as claimed"),
        (-0.0101, True, "undecided", "opposite"),
        (0.02, True, "refused", "opposite"),
        (-0.02, True, "refused", "opposite"),
        (0.02, False, "supported", "as claimed"),
        (-0.006, False, "supported", "as claimed"),
        (-0.02, False, "refused", "opposite"),
    ],
)
def test_alike_is_decided_by_the_margin(difference, either_way, expected, direction):
    measures = with_values("dice", {"center": LEVEL + difference + SPREAD, "baseline": LEVEL})
    part = alike(margins={"dice": {"absolute": 0.01}}, either_way=either_way)
    table = evaluated(part, measures=measures)
    assert table["effect"].item() == pytest.approx(difference)
    assert (table["verdict"].item(), table["direction"].item()) == (expected, direction)
    assert (table["p"].item() > 0.5) == (direction == "opposite")


@pytest.mark.parametrize(("a", "expected"), [(1.05, "supported"), (0.905, "supported"), (1.105, "refused")])
def test_a_relative_margin_is_a_share_of_b(a, expected):
    measures = with_values("ece_fg", {"center": a * LEVEL + SPREAD, "baseline": LEVEL})
    assert (
        evaluated(alike(margins={"ece_fg": {"relative": 0.1}}), measures=measures)["verdict"].item()
        == expected
    )


def test_less_is_better_where_a_loss_may_not_be_worse():
    measures = with_values("ece_fg", {"center": 0.5 * LEVEL, "baseline": LEVEL})
    better = alike(margins={"ece_fg": {"relative": 0.1}}, either_way=False)
    assert evaluated(better, measures=measures)["verdict"].item() == "supported"
    worse = better | {"a": "baseline", "b": "center"}
    assert evaluated(worse, measures=measures)["verdict"].item() == "refused"


def test_auxiliary_networks_have_the_baseline_s_dice():
    part = alike(cohorts=BOTH, a=["aux_feat", "aux_segm"], margins={"dice": {"absolute": 0.001}})
    table = evaluated(part)
    assert (table["effect"] == 0).all()
    assert set(table["verdict"]) == {"supported"}
    # Printed alike to the last digit, .001: they differ by less.
    assert set(table["printed_verdict"]) == {"as claimed"}


def test_margins_are_held_against_the_printed_numbers():
    part = alike(cohorts=BOTH, a=["center", "aux_segm"], margins={"bnf": {"absolute": 0.08}})
    table = evaluated(part).set_index(["cohort", "a"])
    # Printed: .5 and .39; .48 and .39, two digits each; .27 and .26; .27 and .26.
    assert table["printed_effect"].tolist() == pytest.approx([0.11, 0.09, 0.01, 0.01])
    assert table["printed_verdict"].tolist() == ["opposite", "opposite", "as claimed", "as claimed"]


def test_a_zero_that_the_paper_dropped_is_a_digit():
    """0.9 of 0.900 against 0.925 can be told apart."""
    table = evaluated(
        {
            "kind": "paired",
            "cohorts": ["brats"],
            "a": "baseline_mc",
            "b": "baseline",
            "measures": ["ece_fg"],
            "regions": REGIONS,
        }
    )
    assert table["printed_verdict"].item() == "as claimed"


# --- between regions, cohorts and predictors ---------------------------------------------------------------


def test_each_of_a_is_compared_with_each_of_b_in_the_cohort_s_region():
    part = {
        "kind": "paired",
        "cohorts": BOTH,
        "a": ["baseline", "ensemble"],
        "b": ["center", "aleatoric"],
        "measures": ["ece_fg", "u_e"],
        "regions": REGIONS,
    }
    table = evaluated(part)
    assert len(table) == 2 * 2 * 2 * 2
    by_place = table.groupby(["cohort", "measure"])["region"].unique().map(list)
    assert by_place["brats", "ece_fg"] == ["mask"]
    assert by_place["brats", "u_e"] == by_place["isic", "ece_fg"] == ["volume"]


def test_regions_of_the_same_cases_are_compared():
    part = {"kind": "regions", "cohorts": ["brats"], "predictors": ["center"], "measure": "ece_fg"}
    table = evaluated(part | {"a": "volume", "b": "mask"})
    expected = column("ece_fg", "center", "brats") - column("ece_fg", "center", "brats", "mask")
    assert table["effect"].item() == pytest.approx(expected.mean())
    assert table["verdict"].item() == "supported"
    assert evaluated(part | {"a": "mask", "b": "volume"})["verdict"].item() == "refused"


def test_cohorts_are_compared_by_their_own_cases():
    part = {"kind": "cohorts", "a": "brats", "b": "isic", "predictors": ["baseline"], "regions": REGIONS}
    table = evaluated(part | {"measures": ["ece_fg", "background"]})
    expected = column("ece_fg", "baseline", "brats", "mask").mean() - column("ece_fg", "baseline").mean()
    assert table["effect"].iloc[0] == pytest.approx(expected)
    assert list(table["n"]) == [2 * COUNT, 2 * COUNT]
    # In print 0.925 % against 7.256 %; background is not printed.
    assert list(table["printed_verdict"]) == ["as claimed", "not printed"]
    bins = TABLES["reliability"].query("part == 'test' and predictor == 'baseline' and of == 'foreground'")
    shares = bins.groupby(["cohort", "region", "subject"])[["correct", "count"]].sum()
    background = (1 - shares["correct"] / shares["count"]).groupby(["cohort", "region"]).mean()
    assert table["effect"].iloc[1] == pytest.approx(
        background["brats", "mask"] - background["isic", "volume"]
    )


def test_levels_that_differ_are_told_by_friedman_s_test():
    part = {"kind": "differ", "cohorts": ["isic"], "predictors": METHODS[:4], "measures": ["precision"]}
    table = evaluated(part)
    columns = [column("precision", name) for name in METHODS[:4]]
    # Not below what the signs of so many cases can show.
    assert table["p"].item() == pytest.approx(
        max(stats.friedmanchisquare(*columns).pvalue, 2.0 ** (1 - COUNT))
    )
    means = [values.mean() for values in columns]
    assert table["effect"].item() == pytest.approx(max(means) - min(means))
    same = evaluated(part, measures=with_values("precision", dict.fromkeys(METHODS[:4], LEVEL)))
    assert (same["effect"].item(), same["verdict"].item()) == (0, "undecided")
    assert same["reason"].item() == "the predictors are equal in every case"


@pytest.mark.parametrize(("at_most", "expected"), [(0.9, "supported"), (0.81, "undecided"), (0.5, "refused")])
def test_a_level_is_held_against_its_limit(at_most, expected):
    part = {"kind": "level", "cohorts": ["isic"], "predictors": ["center", "baseline"], "measure": "recall"}
    measures = with_values("recall", {"center": LEVEL - 0.1, "baseline": LEVEL + 0.1})
    table = evaluated(part | {"at_most": at_most}, measures=measures)
    assert table["effect"].item() == pytest.approx(0.8)
    assert table["verdict"].item() == expected


# --- correlations ------------------------------------------------------------------------------------------

ASSOCIATION = {
    "kind": "association",
    "cohorts": ["isic"],
    "predictors": ["baseline"],
    "x": "mean_uncertainty",
    "y": "dice",
    "direction": "falls",
}


def test_an_association_is_spearman_s_over_cases():
    rng = np.random.default_rng(3)
    x = rng.normal(size=COUNT)
    for y, verdict in ((-(x**3), "supported"), (x**3, "refused"), (rng.normal(size=COUNT), "undecided")):
        measures = with_values("mean_uncertainty", {"baseline": x})
        both = with_values("dice", {"baseline": y})
        is_dice = both["measure"] == "dice"
        measures.loc[is_dice, "value"] = both.loc[is_dice, "value"]
        table = evaluated(ASSOCIATION, measures=measures)
        assert table["effect"].item() == pytest.approx(stats.spearmanr(x, y).statistic)
        assert table["verdict"].item() == verdict


@pytest.mark.parametrize(("noise", "expected"), [(0.05, "refused"), (1.2, "undecided"), (30.0, "supported")])
def test_at_most_asks_for_a_correlation_that_is_no_stronger(noise, expected):
    rng = np.random.default_rng(5)
    x = rng.normal(size=COUNT)
    measures = with_values("mean_uncertainty", {"baseline": x})
    chosen = with_values("dice", {"baseline": -x + noise * rng.normal(size=COUNT)})
    is_dice = chosen["measure"] == "dice"
    measures.loc[is_dice, "value"] = chosen.loc[is_dice, "value"]
    table = evaluated(ASSOCIATION | {"at_most": 0.8}, measures=measures)
    assert table["verdict"].item() == expected


def test_an_association_of_differences_and_of_averages():
    parts = [
        ASSOCIATION | {"predictors": ["center"], "minus": "baseline", "x": "precision"},
        ASSOCIATION | {"predictors": ["center", "baseline"], "averaged": True, "x": "precision"},
    ]
    table = evaluated(*parts)
    values = {(m, p): column(m, p) for m in ("precision", "dice") for p in ("center", "baseline")}
    expected = [
        stats.spearmanr(*(values[m, "center"] - values[m, "baseline"] for m in ("precision", "dice"))),
        stats.spearmanr(*(values[m, "center"] + values[m, "baseline"] for m in ("precision", "dice"))),
    ]
    assert table["effect"].tolist() == pytest.approx([one.statistic for one in expected])
    assert table["a"].tolist() == ["center less baseline", "mean of 2 predictors"]


def test_methods_agree_where_each_follows_the_others():
    part = {
        "kind": "agreement",
        "cohorts": BOTH,
        "predictors": METHODS,
        "measure": "signed_ce",
        "at_least": 0.8,
    }
    table = evaluated(part | {"regions": REGIONS})
    assert len(table) == 2 * len(METHODS)
    assert set(table["verdict"]) == {"supported"}
    rng = np.random.default_rng(1)
    alone = with_values("signed_ce", {"center": rng.permutation(column("signed_ce", "center"))})
    apart = evaluated(part | {"cohorts": ["isic"]}, measures=alone)
    assert apart.set_index("a")["verdict"]["center"] == "refused"


def test_predictors_with_less_precision_benefit_more():
    part = {
        "kind": "between_predictors",
        "cohorts": ["isic"],
        "predictors": ["center", "baseline", "ensemble", "aleatoric"],
        "x": "precision",
        "y": "recall",
        "direction": "falls",
    }
    levels = dict(zip(part["predictors"], (0.1, 0.2, 0.3, 0.4), strict=True))
    measures = with_values("precision", {name: LEVEL + level for name, level in levels.items()})
    falling = with_values("recall", {name: LEVEL - level for name, level in levels.items()})
    is_recall = measures["measure"] == "recall"
    measures.loc[is_recall, "value"] = falling.loc[is_recall, "value"]
    table = evaluated(part, measures=measures)
    assert (table["effect"].item(), table["verdict"].item()) == (-1, "supported")
    assert evaluated(part | {"direction": "rises"}, measures=measures)["verdict"].item() == "refused"


# --- calibration -------------------------------------------------------------------------------------------


def test_the_data_set_s_error_is_that_of_all_bins_together():
    part = {"kind": "pooled", "cohorts": ["brats"], "predictors": ["center"], "regions": REGIONS}
    table = evaluated(part | {"percent": 5})
    bins = TABLES["reliability"].query("cohort == 'brats' and part == 'test' and predictor == 'center'")
    sums = (
        bins.query("region == 'mask' and of == 'foreground'")
        .groupby("bin")[["count", "confidence", "correct"]]
        .sum()
    )
    pooled = (sums["confidence"] - sums["correct"]).abs().sum() / sums["count"].sum()
    mean = column("ece_fg", "center", "brats", "mask").mean()
    assert table["effect"].item() == pytest.approx(100 * (1 - pooled / mean))
    assert table["lo"].item() < table["effect"].item() < table["hi"].item()
    assert evaluated(part | {"percent": 99})["verdict"].item() == "refused"


def test_miscalibrated_subjects_are_those_beyond_the_methods_own_error():
    part = {"kind": "miscalibrated", "cohorts": BOTH, "predictors": METHODS, "regions": REGIONS}
    table = evaluated(part | {"percent": 50})
    scores = np.mean([column("signed_ce", name) for name in METHODS], axis=0)
    errors = []
    here = TABLES["reliability"].query("cohort == 'isic' and part == 'test' and of == 'foreground'")
    for _, bins in here.groupby("predictor"):
        sums = bins.groupby("bin")[["count", "confidence", "correct"]].sum()
        errors.append(((sums["correct"] - sums["confidence"]) / sums["count"]).mean())
    limit = np.percentile(errors, 90)
    expected = 100 * np.mean((scores > limit) | (scores < -limit))
    assert table.set_index("cohort")["effect"]["isic"] == pytest.approx(expected)
    # Printed: 28 + 32 and 46 + 18.
    assert list(table["printed_effect"]) == [60, 64]
    assert set(table["printed_verdict"]) == {"as claimed"}
    assert set(evaluated(part | {"percent": 62})["printed_verdict"]) == {"as claimed", "opposite"}
    assert evaluated(part | {"percentile": 80, "percent": 50})["printed_verdict"].unique() == ["not printed"]


# --- ranks -------------------------------------------------------------------------------------------------


def sums_of_ranks(columns: list[str]) -> dict[str, int]:
    """By the ranks that tables print, of the means of the tables."""
    table = STUDY.tables[0]
    cases = Cases.of(
        synthetic_jungo.run(STUDY),
        synthetic_jungo.NAME,
        *(TABLES[n] for n in ("measures", "errors", "reliability")),
    )
    total = dict.fromkeys(table.rows, 0)
    for name in columns:
        means = {}
        for row in table.rows:
            cell = table.cell(row, name)
            values = cases.values(
                cell.cohort, "test", cell.predictor, None, cell.measure, cell.region, cell.segment
            )
            means[row] = values["value"].mean() * cell.factor
        for row, rank in ranks.dense(means, cell.digits, ranks.orientation(cell.measure) > 0).items():
            total[row] += rank
    return total


def test_rank_sums_are_those_of_the_table():
    sums = sums_of_ranks(list(STUDY.tables[0].columns))
    table = evaluated(
        {"kind": "rank_sums", "table": "Table 1", "first": ["ensemble"]},
        {"kind": "rank_sums", "table": "Table 1", "last": ["aleatoric", "center"]},
        {"kind": "no_best", "table": "Table 1"},
    )
    others = {row: total for row, total in sums.items() if row not in ("aleatoric", "center")}
    expected = [
        min(total for row, total in sums.items() if row != "ensemble") - sums["ensemble"],
        sums["aleatoric"] - max(others.values()),
        sums["center"] - max(others.values()),
        min(sums.values()) - 8,
    ]
    assert list(table["effect"]) == expected
    # Printed sums: ensemble 15, next 21; aleatoric 43, center 41, the largest of the others 38.
    assert list(table["printed_effect"]) == [6, 5, 3, 7]
    assert set(table["printed_verdict"]) == {"as claimed"}


def test_a_method_that_is_first_everywhere_stands_out():
    part = {"kind": "no_best", "table": "Table 1", "columns": ["ISIC Dice", "BraTS Dice"]}
    assert set(evaluated(part)["printed_verdict"]) == {"opposite"}  # the ensemble, in both
    measures = TABLES["measures"].copy()
    best = (measures["predictor"] == "ensemble") & (measures["measure"] == "dice")
    measures.loc[best, "value"] = 0.999
    table = evaluated(part, measures=measures)
    assert (table["effect"].item(), table["verdict"].item()) == (0, "refused")


@given(
    st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=1, max_size=6),
    st.booleans(),
)
def test_dense_ranks_are_scipy_s(rows, higher):
    values = np.array(rows, float)
    expected = stats.rankdata(-values if higher else values, method="dense", axis=1)
    assert np.array_equal(dense(values, higher), expected)


def test_an_undefined_mean_ranks_last():
    values = np.array([[0.2, np.nan, 0.4, np.nan]])
    assert dense(values, True).tolist() == [[2, 3, 1, 3]]
    assert dense(values, False).tolist() == [[1, 3, 2, 3]]


def test_undefined_resamples_speak_against_a_claim():
    drawn = np.concatenate([np.full(900, 0.5), np.full(99, np.nan)])
    known = Result(kind="between_predictors", cohort="isic")
    assert resampled(known, 0.5, drawn, 50).p == pytest.approx(2 * 100 / 1000)
    assert resampled(known, 0.5, drawn[:900], 50).p == pytest.approx(2 / 901)


@given(
    st.lists(st.floats(-5, 5) | st.just(float("nan")), min_size=1, max_size=8).flatmap(
        lambda values: st.tuples(
            st.just(values),
            st.lists(st.integers(0, 3), min_size=len(values), max_size=len(values)),
        )
    )
)
def test_weighted_means_are_those_of_repeated_cases(drawn):
    values, counts = drawn
    repeated = np.repeat(values, counts)
    repeated = repeated[~np.isnan(repeated)]
    found = weighted_means(np.array(values)[:, None], np.array([counts], float))[0, 0]
    assert found == pytest.approx(repeated.mean()) if len(repeated) else np.isnan(found)


# --- the study's own claims --------------------------------------------------------------------------------


def test_what_the_paper_s_numbers_say_of_its_sentences():
    study = synthetic_jungo.study({"measures": {"bootstrap": 10}})
    tables = [getattr(synthetic_jungo, name)(study, 3) for name in ("measures", "errors", "reliability")]
    run = synthetic_jungo.run(study)
    table = claims.compute(run, synthetic_jungo.NAME, PRINTED, *tables)
    assert (table["effect"].notna() | (table["reason"] != "")).all()
    assert (table["printed_verdict"] == "not printed").equals(table["printed_effect"].isna())
    told = table.drop_duplicates("claim").set_index("claim")["claim_printed_verdict"]
    # ISIC's ECE and Dice grow worse from baseline to baseline+MC.
    assert told["mc_dropout_improves"] == "mixed"
    assert told["methods_perform_similarly"] == "mixed"
    for supported in ("ensemble_ranks_first", "no_method_stands_out", "no_best_calibration"):
        assert told[supported] == "supported"
    for unprinted in ("aggregated_uncertainty_is_not_reliable", "precision_and_recall_differ"):
        assert told[unprinted] == "cannot be told"
    assert list(told.index) == [claim.id for claim in study.claims]


def test_the_study_s_claims_are_written_alike_twice(tmp_path):
    study = synthetic_jungo.study({"measures": {"bootstrap": 20}})
    texts = []
    for name in ("first", "second"):
        folder = tmp_path / name
        synthetic_jungo.write(folder, study, 3)
        claims.write_claims(
            synthetic_jungo.run(study),
            synthetic_jungo.NAME,
            **{table: folder / f"{table}.parquet" for table in ("measures", "reliability", "errors")},
            published=synthetic.CONFIG / "published" / f"{synthetic_jungo.NAME}.csv",
            out=folder / "claims.csv",
        )
        texts.append((folder / "claims.csv").read_bytes())
    assert texts[0] == texts[1]
    schema.read_csv(tmp_path / "first" / "claims.csv", schema.CLAIMS)


def test_a_cohort_outside_the_run_decides_nothing():
    kept = STUDY.model_copy(update={"cohorts": {"isic": STUDY.cohorts["isic"]}})
    parts = [
        claim for claim in STUDY.claims if claim.id in ("ensemble_ranks_first", "background_explains_brats")
    ]
    table = evaluated(
        *(part.model_dump(exclude_unset=True) for claim in parts for part in claim.parts),
        {
            "kind": "miscalibrated",
            "cohorts": ["brats"],
            "predictors": METHODS,
            "percent": 50,
            "regions": REGIONS,
        },
        {
            "kind": "agreement",
            "cohorts": ["brats"],
            "predictors": METHODS,
            "measure": "signed_ce",
            "at_least": 0.5,
        },
        study=kept,
        absent={"brats": "no data root is set for brats18"},
    )
    assert set(table["reason"]) == {"no data root is set for brats18"}
    assert set(table["verdict"]) == {"undecided"}
    assert table.loc[table["kind"] == "rank_sums", "printed_verdict"].item() == "as claimed"


def test_one_case_decides_nothing():
    tables = {name: table[table["subject"].isin(["val000", "test000"])] for name, table in TABLES.items()}
    parts = {part.kind: part.model_dump(exclude_unset=True) for one in STUDY.claims for part in one.parts}
    table = evaluated(*parts.values(), **tables)
    assert set(table["verdict"]) == {"undecided"}
    assert (table["reason"] != "").all()


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"kind": "rank_sums", "table": "Table 7", "first": ["ensemble"]}, "'Table 7' is not one of"),
        ({"kind": "rank_sums", "table": "Table 1", "first": ["nobody"]}, "'nobody' is no row or column"),
        (
            {"kind": "no_best", "table": "Table 1", "columns": ["BraTS ECE"]},
            "'BraTS ECE' is no row or column",
        ),
        ({"kind": "no_best", "table": "text"}, "has a cell that is no mean"),
        ({"kind": "rank_sums", "table": "Table 1"}, "exactly one of first, last"),
    ],
)
def test_ranks_of_what_is_not_there_are_an_error_at_start(part, said):
    stated = {"id": "one", "text": "It is so.", "where": "§3", "parts": [part]}
    with pytest.raises(ValidationError, match=said):
        synthetic_jungo.study({"claims": [stated]})
