"""The audit finds what cannot be right in the printed numbers, and nothing in numbers that are."""

import numpy as np
import pytest
import synthetic
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from segtrail.studies import audit, published
from segtrail.studies.audit import Entry

STUDY = synthetic.study()
PRINTED = published.read(synthetic.CONFIG / "published" / f"{synthetic.NAME}.csv")


def entry(measure: str, value: float, *, row: str = "r", slack: float = 0.0, **bounds: float) -> Entry:
    numbers = {"value": (value, slack)} | {name: (bound, slack) for name, bound in bounds.items()}
    return Entry(("T", row, measure), measure, "volume", 4, numbers)


def violated(entries: list[Entry]) -> set[str]:
    return {finding.rule for finding in audit.audit(entries) if finding.status == "violated"}


def test_printed_numbers_that_no_probabilities_give():
    found = audit.impossible(STUDY, audit.audit(audit.entries(STUDY, PRINTED)))
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
    found = audit.impossible(undeclared, audit.audit(audit.entries(undeclared, PRINTED)))
    assert ("Table II", "Heart (MCDO L_DSC)", "NLL") in found
    assert ("Table II", "Heart (L_DSC)", "ECE%") in found


def test_a_declaration_alone_makes_nothing_impossible():
    honest = [one for one in PRINTED if one.row != "Heart (L_DSC)"]
    found = audit.impossible(STUDY, audit.audit(audit.entries(STUDY, honest)))
    assert not any(row == "Brain (L_DSC)" for _, row, _ in found)


def test_printed_brier_cannot_be_the_mean_over_classes_of_equation_4():
    entries = audit.as_measure(audit.entries(STUDY, PRINTED), {"brier_sum": "brier_mean"})
    means = [Entry(e.place, e.measure, e.region, e.classes, {"value": e.numbers["value"]}) for e in entries]
    counts: dict[str, list[int]] = {}
    for finding in audit.audit(means):
        if finding.rule == "NLL ≥ 1.2277·K·Brier":
            count = counts.setdefault(finding.places[0][0], [0, 0])
            count[0] += finding.status == "violated"
            count[1] += 1
    assert counts == {"Table II": [15, 18], "Suppl Table I": [8, 18], "Suppl Table III": [3, 6]}


def test_the_brier_bound_is_tight():
    least = minimize_scalar(lambda q: -np.log(q) / (2 * (1 - q) ** 2), bounds=(0.01, 0.99), method="bounded")
    assert 0 <= least.fun - audit.NLL_PER_BRIER < 1e-4


@settings(max_examples=200, deadline=None)
@given(
    classes=st.integers(2, 5),
    voxels=st.integers(1, 40),
    sharpness=st.floats(0, 2),  # beyond, 1 − confidence has too few digits left for the bound
    seed=st.integers(0, 2**32 - 1),
)
def test_no_probabilities_break_a_rule(classes, voxels, sharpness, seed):
    rng = np.random.default_rng(seed)
    scores = np.exp(sharpness * rng.normal(size=(voxels, classes)))
    p = scores / scores.sum(axis=1, keepdims=True)
    truth = rng.integers(classes, size=voxels)
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == truth
    bins = np.ceil(confidence * 10)
    gaps = [abs((confidence[bins == b] - correct[bins == b]).sum()) for b in np.unique(bins)]
    own = p[np.arange(voxels), truth]
    one_hot = np.eye(classes)[truth]
    entries = [
        entry("nll", float(-np.log(own).mean()) * (1 + 1e-6) + 1e-12),
        entry("brier_sum", float(((p - one_hot) ** 2).sum(axis=1).mean())),
        entry("ece_conf", float(sum(gaps) / voxels)),
    ]
    assert not violated(entries)


def test_rounding_gets_the_benefit_of_the_doubt():
    # Printed .12 and .10: 1.2277 × .10 = .1228 > .12, but .124 and .096 round to the same.
    assert not violated([entry("nll", 0.12, slack=0.005), entry("brier_sum", 0.10, slack=0.005)])
    assert violated([entry("nll", 0.12), entry("brier_sum", 0.10)]) == {"NLL ≥ 1.2277·Brier"}


@pytest.mark.parametrize(
    ("measure", "value", "bounds"),
    [
        ("dice", 1.2, {}),
        ("ece_conf", -0.1, {}),
        ("hd95", -1.0, {}),
        ("brier_sum", 2.1, {}),
        ("dice", 0.5, {"lo": 0.8, "hi": 0.2}),
    ],
)
def test_values_outside_their_range(measure, value, bounds):
    assert violated([entry(measure, value, **bounds)]) == {"range"}


def test_an_error_of_one_is_impossible_for_any_finite_loss():
    assert "NLL ≥ −ln(1−ECE)" in violated([entry("nll", 9.0), entry("ece_conf", 1.0)])


def test_rows_that_share_two_columns_are_no_copy():
    rows = [entry(m, 0.3, row=row) for row in ("a", "b") for m in ("nll", "dice")]
    assert not violated(rows)
    rows += [entry("hd95", 0.3, row=row) for row in ("a", "b")]
    assert violated(rows) == {"rows differ"}
