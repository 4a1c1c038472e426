"""The general rules find what cannot be right in printed numbers, and nothing in numbers that are."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from segtrail.audit import bounds
from segtrail.audit.bounds import audit
from segtrail.audit.findings import RANGES, Entry, Finding
from segtrail.audit.study import entries as described
from segtrail.audit.study import impossible
from segtrail.config import named_run
from segtrail.config.audit import Measure
from segtrail.config.results import Measure as StudyMeasure
from segtrail.studies import published

CONFIG = Path(__file__).parents[2] / "config"
NAME = "mehrtash2020"
STUDY = named_run("demo", None, CONFIG).studies[NAME]
PRINTED = published.read(CONFIG / "published" / f"{NAME}.csv")


def entry(measure: str, value: float, *, row: str = "r", slack: float = 0.0, **more) -> Entry:
    bounds = {name: (more.pop(name), slack) for name in ("lo", "hi") if name in more}
    return Entry(("T", row, measure), measure, "volume", 4, {"value": (value, slack)} | bounds, **more)


def violated(entries: list[Entry], **options) -> set[str]:
    return {finding.rule for finding in audit(entries, **options) if finding.status == "violated"}


def only(entries: list[Entry], rule: str, **options) -> Finding:
    (found,) = [finding for finding in audit(entries, **options) if finding.rule == rule]
    return found


def test_every_measure_of_the_rules_files_and_of_a_study_has_a_range():
    of_study = {name.removesuffix("_val") for name in StudyMeasure.__args__}
    assert of_study | set(Measure.__args__) - {"other"} == set(RANGES)


def test_printed_numbers_that_no_probabilities_give():
    found = impossible(STUDY, audit(described(STUDY, PRINTED)))
    heart = "Heart (MCDO L_DSC)"
    expected = {
        (table, heart, column) for table in ("Table II", "Suppl Table I") for column in ("Brier", "ECE%")
    }
    copied = {
        ("Table II", row, column)
        for row in ("Brain (L_DSC)", "Brain (EN L_DSC)")
        for column in ("NLL", "Brier", "ECE%")
    }
    assert set(found) == expected | copied
    assert "1.2277 × Brier 0.45 = 0.552" in found["Table II", heart, "Brier"]
    assert "Heart (EN L_DSC) print the same 9 numbers" in found["Table II", "Brain (EN L_DSC)", "NLL"]


def test_without_a_declaration_every_cell_of_a_conflict_is_impossible():
    values = STUDY.model_dump()
    for table in values["tables"]:
        for row in table["rows"].values():
            row.pop("at_fault", None)
    undeclared = type(STUDY).model_validate(values)
    found = impossible(undeclared, audit(described(undeclared, PRINTED)))
    assert ("Table II", "Heart (MCDO L_DSC)", "NLL") in found
    assert ("Table II", "Heart (L_DSC)", "ECE%") in found


def test_a_declaration_alone_makes_nothing_impossible():
    honest = [one for one in PRINTED if one.row != "Heart (L_DSC)"]
    found = impossible(STUDY, audit(described(STUDY, honest)))
    assert not any(row == "Brain (L_DSC)" for _, row, _ in found)


def test_printed_brier_cannot_be_the_mean_over_classes_of_equation_4():
    entries = bounds.as_measure(described(STUDY, PRINTED), {"brier_sum": "brier_mean"})
    means = [Entry(e.place, e.measure, e.region, e.classes, {"value": e.numbers["value"]}) for e in entries]
    counts: dict[str, list[int]] = {}
    for finding in audit(means):
        if finding.rule == "NLL ≥ 1.2277·K·Brier":
            count = counts.setdefault(finding.places[0][0], [0, 0])
            count[0] += finding.status == "violated"
            count[1] += 1
    assert counts == {"Table II": [15, 18], "Suppl Table I": [8, 18], "Suppl Table III": [3, 6]}


def test_the_brier_bound_is_tight():
    least = minimize_scalar(lambda q: -np.log(q) / (2 * (1 - q) ** 2), bounds=(0.01, 0.99), method="bounded")
    assert 0 <= least.fun - bounds.NLL_PER_BRIER < 1e-4


def volume(rng, voxels: int, classes: int, sharpness: float, clip: float) -> dict[str, float]:
    """The measures of random probabilities, by their definitions."""
    scores = np.exp(sharpness * rng.normal(size=(voxels, classes)))
    p = scores / scores.sum(axis=1, keepdims=True)
    truth = rng.integers(classes, size=voxels)
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == truth
    bins = np.ceil(confidence * 10)
    gaps = [abs((confidence[bins == b] - correct[bins == b]).sum()) for b in np.unique(bins)]
    squares = ((p - np.eye(classes)[truth]) ** 2).sum(axis=1).mean()
    return {
        "nll": -np.log(np.maximum(p[np.arange(voxels), truth], clip)).mean(),
        "brier_sum": squares,
        "brier_mean": squares / classes,
        "ece_conf": sum(gaps) / voxels,
    }


@settings(max_examples=200)
@given(
    cases=st.integers(1, 60),
    classes=st.integers(2, 5),
    voxels=st.integers(1, 30),
    sharpness=st.floats(0, 30),
    clip=st.sampled_from([1e-7, 1e-3, 0.05]),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_probabilities_break_a_rule(cases, classes, voxels, sharpness, clip, seed):
    rng = np.random.default_rng(seed)
    table = [volume(rng, voxels, classes, sharpness, clip) for _ in range(cases)]
    entries = []
    for name in table[0]:
        values = np.array([case[name] for case in table])
        lo, hi = np.percentile(values, [2.5, 97.5])
        numbers = {
            k: (float(v), 1e-9 * abs(v)) for k, v in (("value", values.mean()), ("lo", lo), ("hi", hi))
        }
        place = ("T", "r", name)
        entries.append(Entry(place, name, "volume", classes, numbers, n=cases, interval="case_percentiles"))
    assert not violated(entries, clip=clip)


@settings(max_examples=100)
@given(
    values=st.lists(st.sampled_from([0.0, 1e-3, 0.5, 1.0]), min_size=2, max_size=120), seed=st.integers(0, 99)
)
def test_no_bootstrapped_mean_breaks_the_rule_on_its_interval(values, seed):
    rng = np.random.default_rng(seed)
    means = rng.choice(values, size=(4000, len(values))).mean(axis=1)
    lo, hi = np.percentile(means, [2.5, 97.5])
    one = entry("dice", float(np.mean(values)), lo=lo, hi=hi, n=len(values), interval="mean_confidence")
    assert "interval of a mean" not in violated([one], clip=0)


def test_percentiles_over_cases_are_no_interval_of_their_mean():
    # sd ≤ √(.37·.63/102) = .0478, times √39 = .2985: .37 + .30 = .67 < .84.
    one = entry("dice", 0.37, lo=0.0, hi=0.84, n=102, interval="mean_confidence")
    finding = only([one], "interval of a mean")
    assert finding.status == "violated"
    assert finding.margin == pytest.approx(0.37 + 0.2985 - 0.84, abs=1e-3)
    other = entry(
        "dice",
        0.37,
        lo=0.0,
        hi=0.84,
        n=102,
        interval="mean_confidence",
        interval_readings=("case_percentiles",),
    )
    assert only([other], "interval of a mean").repair == "holds if the interval is the percentiles over cases"


def test_a_mean_may_leave_its_percentiles_only_as_far_as_the_few_cases_beyond_them_reach():
    # 102 cases: at most 3 beyond each end. 99 cases of at most .1 and 3 of at most 1: a mean up to .1265.
    inside = entry("dice", 0.126, lo=0.0, hi=0.1, n=102, interval="case_percentiles")
    outside = entry("dice", 0.127, lo=0.0, hi=0.1, n=102, interval="case_percentiles")
    assert not violated([inside])
    assert violated([outside]) == {"mean within percentiles"}
    assert not violated([entry("hd95", 50.0, lo=0.0, hi=0.1, n=102, interval="case_percentiles")])


def test_rounding_gets_the_benefit_of_the_doubt():
    # Printed .12 and .10: 1.2277 × .10 = .1228 > .12, but .124 and .096 round to the same.
    assert not violated([entry("nll", 0.12, slack=0.005), entry("brier_sum", 0.10, slack=0.005)])
    assert violated([entry("nll", 0.12), entry("brier_sum", 0.10)]) == {"NLL ≥ 1.2277·Brier"}


@pytest.mark.parametrize(
    ("measure", "value", "bounds", "rule"),
    [
        ("dice", 1.2, {}, "range"),
        ("ece_conf", -0.1, {}, "range"),
        ("hd95", -1.0, {}, "range"),
        ("brier_sum", 2.1, {}, "range"),
        ("correlation", -1.01, {}, "range"),
        ("predictive_entropy", 1.5, {}, "range"),  # ln 4 = 1.386
        ("dice", 0.5, {"lo": 0.8, "hi": 0.2}, "interval in order"),
    ],
)
def test_values_outside_their_range(measure, value, bounds, rule):
    assert violated([entry(measure, value, **bounds)]) == {rule}


def test_an_error_of_one_is_impossible_for_any_finite_loss_that_is_not_clipped():
    rows = [entry("nll", 9.0), entry("ece_conf", 1.0)]
    assert "NLL ≥ −ln(1−ECE)" in violated(rows)
    assert "NLL ≥ −ln(1−ECE)" in violated(rows, clip=1e-4)  # −ln 1e-4 = 9.21
    assert "NLL ≥ −ln(1−ECE)" not in violated(rows, clip=1e-3)


def test_the_repair_says_what_would_be_possible():
    finding = only([entry("nll", 0.04), entry("ece_conf", 0.4739)], "NLL ≥ −ln(1−ECE)")
    assert finding.margin == pytest.approx(0.04 - 0.6423, abs=1e-4)
    assert finding.repair == "needs nll of at least 0.642, or ece_conf of at most 0.0392"
    read = [entry("nll", 0.3), entry("brier_mean", 0.2, readings=("brier_sum",))]
    assert (
        only(read, "NLL ≥ 1.2277·K·Brier").repair
        == "holds if brier_mean is the sum over classes (without 1/K)"
    )
    worse = [entry("nll", 0.2), entry("brier_mean", 0.2, readings=("brier_sum",))]
    assert "not even if" in only(worse, "NLL ≥ 1.2277·K·Brier").repair


def test_brier_bounds_the_squared_error_of_confidence():
    # K = 4: 4/3 × .3² = .12.
    assert violated([entry("brier_sum", 0.119), entry("ece_conf", 0.3)]) == {"Brier ≥ K/(K−1)·ECE²"}
    assert not violated([entry("brier_sum", 0.121), entry("ece_conf", 0.3)])
    assert violated([entry("brier_mean", 0.0299), entry("ece_conf", 0.3)]) == {"Brier ≥ K/(K−1)·ECE²"}


def test_both_briers_are_one():
    assert violated([entry("brier_sum", 0.4), entry("brier_mean", 0.2)]) == {"Brier = K·mean Brier"}
    assert not violated([entry("brier_sum", 0.4), entry("brier_mean", 0.1)])


def test_a_share_of_few_cases_is_one_of_few_numbers():
    assert not violated([entry("bnf", 0.33, slack=0.005, n=3)])
    finding = only([entry("bnf", 0.4, slack=0.05, n=3)], "share of n")
    assert finding.status == "violated"
    assert finding.margin == pytest.approx(0.05 - 0.4 + 1 / 3)
    assert finding.repair == "nearest is 0.3333; fits n = 5"


def test_rows_that_share_two_columns_are_no_copy():
    rows = [entry(m, 0.3, row=row) for row in ("a", "b") for m in ("nll", "dice")]
    assert not violated(rows)
    rows += [entry("hd95", 0.3, row=row) for row in ("a", "b")]
    assert violated(rows) == {"rows differ"}
    known = {frozenset((("T", "a", "dice"), ("T", "b", "dice")))}
    assert not violated(rows, shared=known)


def test_three_equal_columns_of_eight_are_chance():
    names = ["nll", "dice", "hd95", "brier_sum", "ece_conf", "iou", "u_e", "bnf"]
    rows = [
        entry(m, 0.3 if i < 3 else 0.2 + 0.01 * k, row=row)
        for k, row in enumerate("ab")
        for i, m in enumerate(names)
    ]
    assert "rows differ" not in violated(rows)


def test_a_column_of_two_measures_is_told():
    rows = [
        Entry(("T", row, "U"), measure, "volume", 2, {"value": (0.1, 0.0)})
        for row, measure in (("a", "expected_entropy"), ("b", "predictive_entropy"))
    ]
    assert violated(rows) == {"one column, one measure"}
