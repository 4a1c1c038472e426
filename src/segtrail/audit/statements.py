"""What a paper says of its own numbers, held against them: one function for each kind of statement."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, floor, log10, nan
from typing import Any

from ..config import audit as config
from ..errors import ConfigError
from ..studies.published import Printed, decimals, slack
from .findings import HIGHER_IS_BETTER, NOT_APPLICABLE, VIOLATED, Entry, Finding, Place, status

RULES = {
    "total": "counts add up",
    "same": "text against table",
    "at_most": "at most",
    "shared": "rows agree",
    "rows": "order of rows",
    "columns": "order of columns",
    "ranks": "dense ranks",
    "p_values": "p from ρ and n",
    "shares": "percentages of a count",
    "dice_iou": "Dice and IoU",
    "reduction": "larger ensembles are no worse",
    "ensembles": "ensembles are no worse than their members",
}
RANK_SUMS, ONE_N = "rank sums", "one n for a row"
UNDECLARED = "the rules file declares no such statement"
NEEDS = dict.fromkeys([*RULES.values(), RANK_SUMS, ONE_N], UNDECLARED)
LARGEST_N = 5000
MIDDLE = (0.2, 0.9)  # neither failed nor perfect: the Dice of which the spread of Dice and IoU tells


@dataclass(frozen=True)
class Number:
    """A printed number, in printed units."""

    text: str
    value: float
    slack: float
    digits: int
    """after the point"""
    name: str
    where: str
    place: Place | None


@dataclass(frozen=True)
class Page:
    """All that a paper prints."""

    rules: config.Audit
    file: str
    printed: Mapping[Place, Printed]
    entries: Mapping[Place, Entry]

    def cell(self, place: Place) -> Number:
        """ConfigError for a cell that the published CSV does not hold."""
        if place not in self.printed:
            raise ConfigError(
                f"{' / '.join(place)} is named, but not printed",
                file=self.file,
                expected=f"table, row and column of a cell of the published CSV; {self._nearest(place)}",
            )
        one = self.printed[place]
        meaning = self.rules.tables[place[0]].meaning(*place[1:])
        digits = decimals(one.value) if meaning.decimals is None else meaning.decimals
        half = slack(one.value) if meaning.decimals is None else 0.5 * 10.0**-digits
        name = f"{place[1]} {place[2]}".removeprefix("- ")
        return Number(one.value, one.number, half, digits, name, "", place)

    def number(self, term: config.Term) -> Number:
        """A cell, or a number of the text."""
        if term.cell is not None:
            return self.cell(term.cell)
        text = term.text or ""
        half = slack(text) if term.slack is None else term.slack
        return Number(text, float(text), half, decimals(text), term.what, term.where, None)

    def entry(self, place: Place) -> Entry:
        self.cell(place)
        if place not in self.entries:
            raise ConfigError(f"{' / '.join(place)} has no measure", file=self.file, expected="a measure")
        return self.entries[place]

    def upward(self, place: Place) -> bool:
        """Whether more is better in this column."""
        meaning = self.rules.tables[place[0]].meaning(*place[1:])
        return meaning.better == "higher" if meaning.better else meaning.measure in HIGHER_IS_BETTER

    def _nearest(self, place: Place) -> str:
        tables = list(dict.fromkeys(one[0] for one in self.printed))
        if place[0] not in tables:
            return f"its tables: {', '.join(tables)}"
        known = [one for one in self.printed if one[0] == place[0]]
        which = 1 if not any(one[1] == place[1] for one in known) else 2
        there = [one[which] for one in known if which == 1 or one[1] == place[1]]
        return f"{('rows', 'columns')[which - 1]} there: {', '.join(dict.fromkeys(there))}"


def audit(page: Page) -> list[Finding]:
    """Every statement of the rules file on what the paper prints."""
    findings: list[Finding] = []
    for statement in page.rules.statements:
        findings += list(CHECKS[statement.kind](page, statement))
    return findings


def _told(
    statement: Any, numbers: Sequence[Number], margin: float, sentence: str, repair: str = "", rule: str = ""
) -> Finding:
    """A finding with where it was printed and what the paper says."""
    told = status(margin)
    places = tuple(dict.fromkeys(one.place for one in numbers if one.place is not None))
    where = [
        statement.where,
        *(f"{one.name}: {one.where}" for one in numbers if one.where not in ("", statement.where)),
    ]
    text = "; ".join(dict.fromkeys(part for part in where if part))
    sentence = f"{sentence} ({statement.says})"
    return Finding(
        rule or RULES[statement.kind],
        places,
        told,
        margin,
        sentence,
        repair if told == VIOLATED else "",
        text,
    )


def _room(a: Number, b: Number) -> float:
    """How far rounding may have moved two numbers past each other. Rounding keeps order, so numbers of the
    same digits that print in one order had that order before."""
    return 0.0 if a.digits == b.digits else a.slack + b.slack


def _total(page: Page, one: config.Total) -> Iterator[Finding]:
    """Counts are not rounded, so their sum is exact."""
    parts, total = [page.number(term) for term in one.parts], page.number(one.total)
    found = sum(part.value for part in parts)
    told = " + ".join(part.text for part in parts)
    sentence = f"{told} = {found:g}, {total.name} is {total.text}"
    margin = -abs(found - total.value)
    yield _told(one, [*parts, total], margin, sentence, f"the parts add up to {found:g}, not {total.text}")


def _same(page: Page, one: config.Same) -> Iterator[Finding]:
    """One number rounded twice to the same digits gives the same digits; to fewer, the nearest."""
    a, b = page.number(one.a), page.number(one.b)
    margin = _room(a, b) - abs(a.value - b.value)
    sentence = f"{a.name} is {a.text}, {b.name} is {b.text}"
    repair = f"one of {a.text} and {b.text} is wrong, or they tell of different things; they differ by "
    repair += f"{abs(a.value - b.value):.3g}"
    yield _told(one, [a, b], margin, sentence, repair)


def _at_most(page: Page, one: config.AtMost) -> Iterator[Finding]:
    parts, limit = [page.number(term) for term in one.parts], page.number(one.limit)
    total = sum(part.value for part in parts)
    margin = limit.value + limit.slack - total + sum(part.slack for part in parts)
    told = " + ".join(f"{part.name} {part.text}" for part in parts)
    sentence = f"{told} is {'more than' if margin < 0 else 'at most'} {limit.name} {limit.text}"
    repair = (
        f"needs {limit.name} of at least {total - sum(part.slack for part in parts):g}, or less on the left"
    )
    yield _told(one, [*parts, limit], margin, sentence, repair)


def _shared(page: Page, one: config.Shared) -> Iterator[Finding]:
    """A number that does not depend on what the rows differ in is the same in all of them."""
    for column in one.columns:
        cells = [page.cell((one.table, row, column)) for row in one.rows]
        spread = max(cell.value for cell in cells) - min(cell.value for cell in cells)
        told = ", ".join(cell.text for cell in cells)
        yield _told(one, cells, -spread, f"{column} of {', '.join(one.rows)}: {told}", "needs one number")


def _rows(page: Page, one: config.Rows) -> Iterator[Finding]:
    pairs = [
        (page.cell((one.table, a, column)), page.cell((one.table, b, column)))
        for a, b in one.pairs
        for column in one.columns
        # A table may leave a cell blank; a name that it does not have at all is a mistake.
        if not (_blank(page, one.table, a, column) or _blank(page, one.table, b, column))
    ]
    yield from _ordered(page, one, pairs, one.relation)


def _blank(page: Page, table: str, row: str, column: str) -> bool:
    """A cell of the rules' table that the paper leaves empty."""
    known = page.rules.tables.get(table)
    named = known is not None and row in known.rows and column in known.columns
    return named and (table, row, column) not in page.printed


def _columns(page: Page, one: config.Columns) -> Iterator[Finding]:
    pairs = [
        (page.cell((one.table, row, a)), page.cell((one.table, row, b)))
        for row in one.rows
        for a, b in one.pairs
    ]
    yield from _ordered(page, one, pairs, "stronger")


def _ordered(
    page: Page, one: Any, pairs: Sequence[tuple[Number, Number]], relation: str
) -> Iterator[Finding]:
    """The first of each pair, rounded as favourably as possible, is not on the wrong side of the second."""
    results = []
    for a, b in pairs:
        if relation == "stronger":
            difference, words = abs(a.value) - abs(b.value), "stronger"
        else:
            up = page.upward(a.place or ("", "", ""))
            difference, words = (a.value - b.value) * (1 if up else -1), "better"
        margin = difference + _room(a, b)
        how = words if difference > 0 else f"not {words}" if difference < 0 else "the same"
        results.append((a, b, margin, f"{a.name} {a.text} against {b.name} {b.text}: {how}"))
    held = sum(status(margin) != VIOLATED for _, _, margin, _ in results)
    for a, b, margin, sentence in results:
        repair = f"of this sentence's {len(results)} comparisons {held} hold and {len(results) - held} do not"
        yield _told(one, [a, b], margin, sentence, repair)


def _ranks(page: Page, one: config.Ranks) -> Iterator[Finding]:
    """Dense ranks of the rounded values: equal values share a rank, the next value has the next rank."""
    sums: Counter[str] = Counter()
    for column in one.columns:
        cells = [page.cell(place) for place in page.printed if (place[0], place[2]) == (one.table, column)]
        if not cells:
            page.cell((one.table, "(any)", column))
        order = sorted({cell.value for cell in cells}, reverse=page.upward(cells[0].place or ("", "", "")))
        for cell in cells:
            place = cell.place or ("", "", "")
            found = re.search(r"\brank (\d+)\b", page.printed[place].note)
            if found is None:
                yield Finding(RULES[one.kind], (place,), NOT_APPLICABLE, nan, "no rank is printed")
                continue
            printed, rank = int(found[1]), order.index(cell.value) + 1
            sums[place[1]] += printed
            sentence = f"{cell.name} {cell.text} has rank {rank}, printed {printed}"
            yield _told(one, [cell], -float(abs(printed - rank)), sentence, f"its rank is {rank}")
    if one.first is not None and sums:
        if one.first not in sums:
            raise ConfigError(f"first = {one.first!r}", file=page.file, expected=f"one of: {', '.join(sums)}")
        least = min(total for row, total in sums.items() if row != one.first)
        told = ", ".join(f"{row} {total}" for row, total in sorted(sums.items(), key=lambda item: item[1]))
        margin = float(least - sums[one.first])
        sentence = f"sums of ranks over {len(one.columns)} columns: {told}"
        yield _told(one, [], margin, sentence, f"{min(sums, key=sums.__getitem__)} is first", RANK_SUMS)


def _p_values(page: Page, one: config.PValues) -> Iterator[Finding]:
    """p = 2·P(T_{n−2} > |ρ|·√((n−2)/(1−ρ²))), the t-approximation that statistics packages print for
    Spearman's ρ (and that is exact for Pearson's r of normal data). p falls with |ρ| and with n, so the
    rounded ρ and p leave one range of n."""
    for table in one.tables:
        if table not in page.rules.tables:
            page.cell((table, "", ""))
        for row in page.rules.tables[table].rows:
            fits = []
            numbers = []
            for rho_column, p_column in one.pairs:
                rho, p = page.cell((table, row, rho_column)), page.cell((table, row, p_column))
                finding, sizes = _p_value(one, rho, p)
                fits.append(sizes)
                numbers += [rho, p]
                yield finding
            low, high = max(size[0] for size in fits), min(size[1] for size in fits)
            each = ", ".join(f"{pair[0]} {_range(*size)}" for pair, size in zip(one.pairs, fits, strict=True))
            margin = float(min(one.n - low, high - one.n))
            sentence = f"all p of {row} together fit {_range(low, high)}: {each}; stated is n = {one.n}"
            alone = _range(min(size[0] for size in fits), max(size[1] for size in fits))
            repair = f"fits {_range(low, high)}, not {one.n}; one or another of them fits {alone}"
            yield _told(one, numbers, margin, sentence, repair, ONE_N)


def _p_value(one: config.PValues, rho: Number, p: Number) -> tuple[Finding, tuple[int, int]]:
    strongest, weakest = min(1.0, abs(rho.value) + rho.slack), max(0.0, abs(rho.value) - rho.slack)
    least, most = p_of(strongest, one.n), p_of(weakest, one.n)
    bottom, top = max(p.value - p.slack, 1e-320), p.value + p.slack
    # In decades: how far the range that ρ gives and the one that was printed overlap, or lie apart.
    margin = min(log10(top / max(least, 1e-320)), log10(max(most, 1e-320) / bottom))
    sizes = fitting_sizes((weakest, strongest), (p.value - p.slack, top))
    sentence = f"ρ = {rho.text} of {one.n} gives p from {least:.2g} to {most:.2g}, {p.name} is {p.text}"
    return _told(one, [rho, p], margin, sentence, f"fits {_range(*sizes)}, not {one.n}"), sizes


def p_of(rho: float, n: Any) -> Any:
    """Two-sided p of a correlation ρ of n pairs, by the t-approximation; n may be an array."""
    import numpy as np
    from scipy.special import stdtr  # scipy.stats takes a second to import, at each start of a run

    with np.errstate(divide="ignore"):
        t = rho * np.sqrt((n - 2) / (1 - np.float64(rho) ** 2))
    p = 2 * stdtr(np.maximum(n - 2, 1), -t)
    return float(p) if np.ndim(p) == 0 else p


def fitting_sizes(rho: tuple[float, float], p: tuple[float, float]) -> tuple[int, int]:
    """The least and the largest n for which some ρ of the range has some p of the range; (1, 0) if none."""
    import numpy as np

    n = np.arange(3, LARGEST_N + 1)
    fits = n[(p_of(rho[1], n) <= p[1]) & (p_of(rho[0], n) >= p[0])]
    return (int(fits[0]), int(fits[-1])) if len(fits) else (1, 0)


def _range(low: int, high: int) -> str:
    if low > high:
        return "no n"
    more = " or more" if high == LARGEST_N else f"…{high}" if high > low else ""
    return f"n = {low}{more}"


def _shares(page: Page, one: config.Shares) -> Iterator[Finding]:
    """There are counts that add up to the whole and round to the printed percentages."""
    shares, whole = [page.number(term) for term in one.shares], page.number(one.of)
    n = round(whole.value)
    ranges = [
        range(
            max(0, ceil((share.value - share.slack) * n / 100 - 1e-9)),
            floor((share.value + share.slack) * n / 100 + 1e-9) + 1,
        )
        for share in shares
    ]
    found = [counts for counts in product(*ranges) if sum(counts) == n]
    told = ":".join(share.text for share in shares)
    shown = ", ".join("/".join(map(str, counts)) for counts in found[:4])
    fits = f"fits {shown}{' …' if len(found) > 4 else ''}" if found else "fits no counts that add up"
    nearest = "/".join(f"{share.value * n / 100:.4g}" for share in shares)
    yield _told(
        one, [*shares, whole], 0.0 if found else -1.0, f"{told} of {n} {fits}", f"{nearest} would be it"
    )


def _dice_iou(page: Page, one: config.DiceIou) -> Iterator[Finding]:
    """IoU = D/(2−D) of one image. That is convex and at most D, so mean D/(2 − mean D) ≤ mean IoU ≤ mean D
    (Jensen). D − IoU = D(1−D)/(2−D) is concave, so within [a, b] it is at least its smaller value at the
    ends: a small mean D − IoU leaves room for few images there (Markov)."""
    for row in one.rows:
        places: tuple[Place, Place] = ((one.dice[0], row, one.dice[1]), (one.iou[0], row, one.iou[1]))
        numbers = [page.cell(place) for place in places]
        (d, d_slack), (j, j_slack) = (page.entry(place).numbers["value"] for place in places)
        least, most = iou_of(d - d_slack), iou_of(d + d_slack)
        factor = page.entry(places[1]).factor
        told = f"Dice {numbers[0].text}, IoU {numbers[1].text}"
        if one.averaged:
            margin = min(j + j_slack - least, d + d_slack - (j - j_slack))
            share = (d - j + d_slack + j_slack) / min(end - iou_of(end) for end in MIDDLE)
            told += f": a mean IoU from {factor * iou_of(d):.1f} to {factor * d:.1f}"
            if share < 1 and margin >= 0:
                told += f"; at most {share:.0%} of the images have a Dice from {MIDDLE[0]} to {MIDDLE[1]}"
            repair = f"needs a mean IoU from {factor * least:.3g} to {factor * (d + d_slack):.3g}"
        else:
            margin = min(j + j_slack - least, most - (j - j_slack))
            told += f": Dice gives IoU {factor * iou_of(d):.3g}"
            averages = "; holds if both are means over images" if least - j_slack <= j <= d + d_slack else ""
            repair = f"needs an IoU from {factor * least:.3g} to {factor * most:.3g}{averages}"
        yield _told(one, numbers, margin, told, repair)


def iou_of(dice: float) -> float:
    return dice / (2 - dice)


def _reduction(page: Page, one: config.Reduction) -> Iterator[Finding]:
    """The mean over all sets of M members of a convex measure of their averaged probabilities does not rise
    with M: the average of M is the average of the averages of its sets of M − 1 (Jensen). So the larger
    ensemble is at most (1 − reduction) × the single model, up to the chance of drawing sets."""
    single, ensemble, percent = (page.number(term) for term in (one.single, one.ensemble, one.percent))
    most = (1 - (percent.value - percent.slack) / 100) * (single.value + single.slack)
    margin = most - (ensemble.value - ensemble.slack)
    told = (
        f"{ensemble.name} {ensemble.text}, after {single.name} {single.text} was reduced by {percent.text} %"
    )
    found = 100 * (1 - (ensemble.value - ensemble.slack) / (single.value + single.slack))
    needed = (ensemble.value - ensemble.slack) / (1 - (percent.value - percent.slack) / 100)
    sentence = f"{told} to {(1 - percent.value / 100) * single.value:.3g}"
    repair = f"needs a reduction of at most {found:.0f} %, or {single.name} of at least {needed:.2f}"
    yield _told(one, [single, ensemble, percent], margin, sentence, repair)


def _ensembles(page: Page, one: config.Ensembles) -> Iterator[Finding]:
    """NLL and Brier are convex in the probabilities, so of averaged probabilities they are at most the mean
    of the members' (Jensen), up to the chance of drawing sets."""
    for table in one.tables:
        for ensemble, single in one.pairs:
            for column in one.columns:
                a, b = page.cell((table, ensemble, column)), page.cell((table, single, column))
                margin = b.value - a.value + _room(a, b)
                relation = "above" if a.value > b.value else "at most"
                sentence = f"{a.name} {a.text} is {relation} {b.name} {b.text}"
                repair = f"needs {a.name} of at most {b.text}"
                yield _told(one, [a, b], margin, sentence, repair)


CHECKS: dict[str, Callable[[Page, Any], Iterator[Finding]]] = {
    "total": _total,
    "same": _same,
    "at_most": _at_most,
    "shared": _shared,
    "rows": _rows,
    "columns": _columns,
    "ranks": _ranks,
    "p_values": _p_values,
    "shares": _shares,
    "dice_iou": _dice_iou,
    "reduction": _reduction,
    "ensembles": _ensembles,
}
