"""What must hold for any numbers of known measures: each rule is applied to whatever holds its measures.

The rules hold for the values of any case, so they also hold for means over cases and, since the order
statistics of the smaller quantity stay below those of the larger, for percentiles over cases.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from math import ceil, exp, floor, inf, isfinite, log, nan, sqrt

from .findings import HOLDS, MEANINGS, NOT_APPLICABLE, VIOLATED, Entry, Finding, Place, limits, status

# min over q of −ln q / (2(1−q)²): a voxel with probability q for its own class has a squared error, summed
# over classes, of at most 2(1−q)² (all the rest on one other class), and a log-loss of −ln q.
NLL_PER_BRIER = 1.2277
EQUAL_COLUMNS = 3
TAIL = 0.025  # beyond each end of a 95 % interval
CALIBRATION = ("nll", "brier_sum", "brier_mean", "ece_conf")
SHARES = ("bnf", "addition", "share")
# Rule → why it found nothing to look at, if it did not.
NEEDS = {
    "range": "no table holds a number of a known measure",
    "interval in order": "no table holds an interval",
    "mean within percentiles": "no table holds percentiles over a known number of cases",
    "interval of a mean": "no table holds an interval of a mean of known n, of a measure with a maximum",
    "NLL ≥ −ln(1−ECE)": "no table holds NLL and ECE of the confidence of the same predictions",
    "NLL ≥ 1.2277·Brier": "no table holds NLL and Brier of the same predictions, summed over classes",
    "NLL ≥ 1.2277·K·Brier": "no table holds NLL and Brier of the same predictions, with 1/K",
    "Brier ≥ K/(K−1)·ECE²": "no table holds Brier and ECE of the confidence of the same predictions",
    "Brier = K·mean Brier": "no table holds Brier with and without 1/K",
    "share of n": "no table holds a share of a known number of cases",
    "one column, one measure": "there is no table",
    "rows differ": f"no table holds two rows of a table with {EQUAL_COLUMNS} columns in common",
}


def as_measure(entries: Iterable[Entry], names: Mapping[str, str]) -> list[Entry]:
    """The same numbers read as other measures: what would follow if a paper meant the other definition."""
    return [replace(entry, measure=names.get(entry.measure, entry.measure)) for entry in entries]


def audit(
    entries: Sequence[Entry],
    *,
    clip: float = 0.0,
    shared: Collection[frozenset[Place]] = (),
    as_printed: bool = True,
) -> list[Finding]:
    """Every rule on every row that has what it needs.

    `clip`: the smallest probability inside the logarithm of the NLL, 0 where it is not known to be clipped.
    `shared`: pairs of cells that are known to agree, and tell nothing of a copy.
    `as_printed`: also what a printed table must be, its columns of one measure and its rows no copies.
    """
    findings = [_in_range(entry) for entry in entries]
    for entry in entries:
        findings += _interval(entry)
        if entry.measure in SHARES and entry.n and not entry.averaged:
            findings.append(_share(entry))
    rows: dict[tuple[str, str, str], dict[str, Entry]] = defaultdict(dict)
    for entry in entries:
        if entry.measure in CALIBRATION:
            rows[(*entry.place[:2], entry.region)][entry.measure] = entry
    for row in rows.values():
        findings += _calibration(row, clip)
    return findings + (_one_measure(entries) + equal_rows(entries, shared) if as_printed else [])


def not_applicable(findings: Iterable[Finding], needs: Mapping[str, str]) -> list[Finding]:
    """One finding for each rule that found nothing to look at."""
    used = {finding.rule for finding in findings}
    return [Finding(rule, (), NOT_APPLICABLE, nan, why) for rule, why in needs.items() if rule not in used]


def read_otherwise(rule: Callable[..., Finding], *entries: Entry) -> Finding:
    """The rule on entries as the paper states them; where it fails, the repair says which of their other
    readings makes it hold."""
    finding = rule(*entries)
    if finding.status != VIOLATED:
        return finding
    tried = []
    for index, entry in enumerate(entries):
        for name in entry.readings:
            other = replace(entry, measure=name)
            if rule(*entries[:index], other, *entries[index + 1 :]).status != VIOLATED:
                return replace(finding, repair=f"holds if {entry.place[2]} is {MEANINGS.get(name, name)}")
            tried.append(f"not even if {entry.place[2]} is {MEANINGS.get(name, name)}")
    return replace(finding, repair="; ".join([finding.repair, *tried]))


def _calibration(row: Mapping[str, Entry], clip: float) -> list[Finding]:
    findings = []
    nll, ece = row.get("nll"), row.get("ece_conf")
    briers = [row[name] for name in ("brier_sum", "brier_mean") if name in row]
    if nll and ece:
        findings.append(read_otherwise(lambda a, b: _ece_below_nll(a, b, clip), nll, ece))
    for brier in briers:
        known = brier.measure == "brier_sum" or brier.classes is not None
        # A clip as large as this would cap the NLL below the bound; no study may set it.
        if nll and known and (clip == 0 or -log(clip) >= 2 * NLL_PER_BRIER):
            findings.append(read_otherwise(_brier_below_nll, nll, brier))
        if ece and brier.classes is not None and brier.classes > 1:
            findings.append(read_otherwise(_ece_below_brier, brier, ece))
    if len(briers) == 2 and briers[0].classes is not None:
        findings.append(_same_brier(*briers))
    return findings


def _in_range(entry: Entry) -> Finding:
    """Every measure has a range by its definition."""
    low, high = limits(entry.measure, entry.classes)
    margin = min(
        min(number + slack - low, high - (number - slack)) for number, slack in entry.numbers.values()
    )
    sentence = f"{entry.measure} lies in [{low:g}, {high:g}]"
    repair = f"needs a number in [{low:g}, {high:g}], in units of {entry.measure}"
    return _finding("range", (entry,), margin, sentence, repair)


def _interval(entry: Entry) -> list[Finding]:
    if "lo" not in entry.numbers or "hi" not in entry.numbers:
        return []
    (lo, lo_slack), (hi, hi_slack) = entry.numbers["lo"], entry.numbers["hi"]
    margin = hi + hi_slack - (lo - lo_slack)
    sentence = f"{lo:g} to {hi:g} is {'no interval' if margin < 0 else 'in order'}"
    findings = [
        _finding("interval in order", (entry,), margin, sentence, "needs its ends the other way round")
    ]
    if entry.n and entry.interval == "case_percentiles":
        findings.append(_mean_within_percentiles(entry))
    elif (
        entry.n and entry.interval == "mean_confidence" and isfinite(limits(entry.measure, entry.classes)[1])
    ):
        findings.append(_interval_of_mean(entry))
    return findings


def _mean_within_percentiles(entry: Entry) -> Finding:
    """lo − s·(lo − min) ≤ mean ≤ hi + s·(max − hi), s = (⌊n/40⌋ + 1)/n: by any definition of a percentile at
    most ⌊n/40⌋ + 1 of n cases lie beyond the 2.5th or the 97.5th, and none beyond the measure's range. (The
    mean may well lie outside its percentiles: of 99 zeros and a one, for instance.)"""
    low, high = limits(entry.measure, entry.classes)
    (value, slack), (lo, lo_slack), (hi, hi_slack) = (entry.numbers[name] for name in ("value", "lo", "hi"))
    s = min(1.0, (floor(TAIL * (entry.n or 1)) + 1) / (entry.n or 1))
    least = (1 - s) * (lo - lo_slack) + s * low if isfinite(low) else -inf
    most = (1 - s) * (hi + hi_slack) + s * high if isfinite(high) else inf
    margin = min(value + slack - least, most - (value - slack))
    sentence = f"mean {value:g} with percentiles {lo:g} to {hi:g} over {entry.n} cases"
    repair = f"needs a mean from {least:.3g} to {most:.3g}"
    return _finding("mean within percentiles", (entry,), margin, sentence, repair)


def _interval_of_mean(entry: Entry) -> Finding:
    """|end − m| ≤ √(0.975/0.025)·√(m(b − m)/n) for a mean m of n cases in [0, b]: their variance is at most
    m(b − m) (Bhatia and Davis 2000), that of a bootstrapped mean 1/n of it, and by Cantelli's inequality no
    more than 2.5 % lie further than √39 standard deviations to one side. Normal and t intervals are narrower
    still."""
    high = limits(entry.measure, entry.classes)[1]
    (m, slack), (lo, lo_slack), (hi, hi_slack) = (entry.numbers[name] for name in ("value", "lo", "hi"))
    z = sqrt((1 - TAIL) / TAIL)

    def reach(mean: float) -> float:
        return z * sqrt(max(0.0, mean * (high - mean)) / (entry.n or 1))

    # Concave in the mean, so the best of the rounding is at an end, or at its top in between.
    top = high / 2 * (1 + 1 / sqrt(1 + z * z / (entry.n or 1)))
    ends = [max(0.0, m - slack), min(high, m + slack)]
    above = max(mean + reach(mean) for mean in [*ends, *(t for t in [top] if ends[0] < t < ends[1])])
    below = min(mean - reach(mean) for mean in [*ends, *(t for t in [high - top] if ends[0] < t < ends[1])])
    margin = min(above - (hi - hi_slack), lo + lo_slack - below)
    fits = "cannot be" if margin < 0 else "can be"
    sentence = (
        f"{lo:g} to {hi:g} {fits} a 95 % interval of the mean {m:g} of {entry.n} cases in [0, {high:g}]: "
        f"at most {max(0.0, below):.2g} to {min(high, above):.2g}"
    )
    repair = "needs a narrower interval"
    if (
        "case_percentiles" in entry.interval_readings
        and status(_mean_within_percentiles(entry).margin) == HOLDS
    ):
        repair = "holds if the interval is the percentiles over cases"
    return _finding("interval of a mean", (entry,), margin, sentence, repair)


def _share(entry: Entry) -> Finding:
    """A share of n cases is k/n for some count k."""
    n, (value, slack) = entry.n or 1, entry.numbers["value"]
    low, high = ceil((value - slack) * n - 1e-9), floor((value + slack) * n + 1e-9)
    nearest = min(max(round(value * n), 0), n)
    margin = slack - abs(value - nearest / n)
    shown = f"{entry.factor * value:g}"
    if low <= high:
        counts = f"{low}" if low == high else f"{low} to {high}"
        sentence = f"{shown} is {counts} of {n} cases"
    else:
        sentence = f"{shown} is no share of {n} cases"
    sizes = [size for size in range(1, 2 * n) if _fits(value, slack, size)]
    others = sorted(sorted(sizes, key=lambda size: abs(size - n))[:3])
    repair = f"nearest is {entry.factor * nearest / n:.4g}; fits n = {', '.join(map(str, others)) or 'none'}"
    return _finding("share of n", (entry,), max(margin, 0.0) if low <= high else margin, sentence, repair)


def _fits(value: float, slack: float, n: int) -> bool:
    return ceil((value - slack) * n - 1e-9) <= floor((value + slack) * n + 1e-9)


def _ece_below_nll(nll: Entry, ece: Entry, clip: float) -> Finding:
    """NLL ≥ −ln(1−ECE): confidence and accuracy differ by at most 1 − the mean probability of the true class,
    and NLL = −mean ln p ≥ −ln mean p (Jensen). With probabilities clipped from below at c the mean p rises by
    at most c."""

    def bound(value: float) -> float:
        return -log(1 - value + clip) if value < 1 + clip else inf

    def largest(loss: float) -> float:
        return 1 - exp(-loss) + clip

    return _bound("NLL ≥ −ln(1−ECE)", nll, ece, bound, largest, lambda text: f"−ln(1 − ECE {text})")


def _brier_below_nll(nll: Entry, brier: Entry) -> Finding:
    """NLL ≥ 1.2277 × Brier summed over classes (see NLL_PER_BRIER), which is K times that with 1/K."""
    if brier.measure == "brier_sum" or brier.classes is None:
        factor, rule, name = NLL_PER_BRIER, "NLL ≥ 1.2277·Brier", "1.2277 × Brier"
    else:
        factor, rule = NLL_PER_BRIER * brier.classes, "NLL ≥ 1.2277·K·Brier"
        name = f"1.2277 × {brier.classes} × Brier"
    return _bound(
        rule,
        nll,
        brier,
        lambda value: factor * value,
        lambda loss: loss / factor,
        lambda text: f"{name} {text}",
    )


def _ece_below_brier(brier: Entry, ece: Entry) -> Finding:
    """Brier summed over K classes ≥ K/(K−1) × ECE²: of a voxel it is at least K/(K−1)·(1−q)², q the
    probability of the true class (the rest spread evenly), ECE ≤ mean (1−q), and a mean of squares is at
    least the square of the mean (Jensen)."""
    classes = brier.classes or 2
    factor = classes / (classes - 1) / (classes if brier.measure == "brier_mean" else 1)
    name = "K/(K−1) × ECE" if brier.measure == "brier_sum" else "1/(K−1) × ECE"
    return _bound(
        "Brier ≥ K/(K−1)·ECE²",
        brier,
        ece,
        lambda value: factor * value**2,
        lambda score: sqrt(score / factor),
        lambda text: f"{name} {text}²",
        larger="Brier",
    )


def _bound(
    rule: str,
    upper: Entry,
    other: Entry,
    bound: Callable[[float], float],
    inverse: Callable[[float], float],
    label: Callable[[str], str],
    larger: str = "NLL",
) -> Finding:
    """upper ≥ bound(other) for value, lo and hi, each rounded as favourably as possible."""
    margins = {}
    for name, (number, slack) in upper.numbers.items():
        if name in other.numbers:
            theirs, their_slack = other.numbers[name]
            margins[name] = number + slack - bound(max(0.0, theirs - their_slack))
    # The mean tells it best, where it does.
    worst = "value" if margins["value"] < 0 else min(margins, key=lambda name: margins[name])
    (number, slack), (theirs, their_slack) = upper.numbers[worst], other.numbers[worst]
    relation = "below" if margins[worst] < 0 else "not below"
    which = "" if worst == "value" else f" ({worst} of the interval)"
    sentence = f"{larger} {number:g} is {relation} {label(f'{theirs:g}')} = {bound(theirs):.3g}{which}"
    if margins[worst] < 0:
        sentence += ", which no probabilities can give"
    least = upper.factor * bound(max(0.0, theirs - their_slack))
    most = other.factor * inverse(max(0.0, number + slack))
    needed = [f"{upper.place[2]} of at least {least:.3g}"] if isfinite(least) else []
    repair = "needs " + ", or ".join([*needed, f"{other.place[2]} of at most {most:.3g}"]) + which
    return _finding(rule, (upper, other), margins[worst], sentence, repair)


def _same_brier(total: Entry, mean: Entry) -> Finding:
    """The sum over K classes is K times the mean over them."""
    classes, (a, a_slack), (b, b_slack) = total.classes or 1, total.numbers["value"], mean.numbers["value"]
    margin = a_slack + classes * b_slack - abs(a - classes * b)
    sentence = f"Brier {a:g} and {classes} × {b:g} = {classes * b:g}"
    return _finding("Brier = K·mean Brier", (total, mean), margin, sentence, f"needs {a / classes:g}")


def _one_measure(entries: Sequence[Entry]) -> list[Finding]:
    """The numbers of one column can be compared only if all rows hold the same measure."""
    columns: dict[tuple[str, str], dict[str, list[Entry]]] = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        columns[entry.place[0], entry.place[2]][entry.measure].append(entry)
    findings = []
    for (_, column), measures in columns.items():
        told = "; ".join(
            f"{measure} in {', '.join(entry.place[1] for entry in found)}"
            for measure, found in measures.items()
        )
        several = len(measures) > 1
        sentence = f"{column} holds {told if several else next(iter(measures))}"
        places = [entry for found in measures.values() for entry in found]
        repair = "needs one measure for all rows"
        findings.append(
            _finding("one column, one measure", places, float(1 - len(measures)), sentence, repair)
        )
    return findings


def equal_rows(entries: Sequence[Entry], shared: Collection[frozenset[Place]] = ()) -> list[Finding]:
    """Two rows of a table that agree in value and interval in at least three columns, and in half of those
    that they have in common, are a copy. (No proof: numbers of two digits meet by chance, three in a row of
    six do so rarely.)"""
    tables: dict[str, dict[str, dict[str, Entry]]] = defaultdict(lambda: defaultdict(dict))
    for entry in entries:
        tables[entry.place[0]][entry.place[1]][entry.place[2]] = entry
    findings = []
    for table, rows in tables.items():
        copies, compared = [], 0
        for (name, first), (other, second) in combinations(rows.items(), 2):
            common = [
                column
                for column in first
                if column in second and frozenset((first[column].place, second[column].place)) not in shared
            ]
            equal = [column for column in common if first[column].numbers == second[column].numbers]
            compared += len(common) >= EQUAL_COLUMNS
            if len(equal) >= max(EQUAL_COLUMNS, len(common) / 2):
                count = sum(len(first[column].numbers) for column in equal)
                copies.append(
                    Finding(
                        "rows differ",
                        tuple(row[column].place for row in (first, second) for column in equal),
                        VIOLATED,
                        float(EQUAL_COLUMNS - 1 - len(equal)),
                        f"rows {name} and {other} print the same {count} numbers in {', '.join(equal)}",
                        f"{name} equals {other} in all {count} numbers of {', '.join(equal)}: one is a copy",
                    )
                )
        findings += copies
        if compared and not copies:
            sentence = f"no two of the {len(rows)} rows of {table} repeat each other"
            findings.append(Finding("rows differ", (), status(1.0), 1.0, sentence, text=table))
    return findings


def _finding(rule: str, entries: Sequence[Entry], margin: float, sentence: str, repair: str) -> Finding:
    told = status(margin)
    places = tuple(dict.fromkeys(entry.place for entry in entries))
    return Finding(rule, places, told, margin, sentence, repair if told == VIOLATED else "")
