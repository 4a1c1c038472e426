"""Patients dealt to parts and folds, the proportional number of each stratum."""

from itertools import accumulate, pairwise

from .patients import Patient


def pieces(count: int, k: int) -> list[int]:
    """The sizes of k pieces of `count`, the first ones one larger where k does not divide it."""
    return [count // k + (piece < count % k) for piece in range(k)]


def deal(pool: list[Patient], sizes: dict[str, int], by: str | None) -> dict[str, list[Patient]]:
    """Deals the ranked pool to the named rows, each proportional in the strata."""
    strata: dict[str, list[Patient]] = {}
    for patient in pool:
        strata.setdefault(patient.stratum(by), []).append(patient)
    names = sorted(strata)
    rest = len(pool) - sum(sizes.values())
    counts = _proportional([*sizes.values(), rest], [len(strata[name]) for name in names])
    dealt: dict[str, list[Patient]] = {row: [] for row in sizes}
    for column, name in enumerate(names):
        edges = pairwise(accumulate((row[column] for row in counts), initial=0))
        for row, (start, stop) in zip(sizes, edges, strict=False):  # the last row is the rest
            dealt[row] += strata[name][start:stop]
    return dealt


def _proportional(rows: list[int], columns: list[int]) -> list[list[int]]:
    """Whole numbers with the given row and column sums, each row·column/total rounded up or down.

    Controlled rounding: such a table always exists (Bacharach 1966, Management Science 12:732). Of the
    possible ones the linear programme picks that which rounds up the largest remainders.
    """
    if len(columns) == 1:
        return [[row] for row in rows]
    total = sum(rows)
    cells = [(r, c) for r in range(len(rows)) for c in range(len(columns))]
    table = [[row * column // total for column in columns] for row in rows]
    remainders = [rows[r] * columns[c] % total for r, c in cells]
    if any(remainders):
        from scipy.optimize import linprog  # slow to import, and seldom needed

        sums = [[float(r == row) for r, _ in cells] for row in range(len(rows))]
        sums += [[float(c == column) for _, c in cells] for column in range(len(columns))]
        missing = [row - sum(counts) for row, counts in zip(rows, table, strict=True)]
        missing += [column - sum(row[c] for row in table) for c, column in enumerate(columns)]
        upper = [float(remainder > 0) for remainder in remainders]
        found = linprog(
            [-remainder / total for remainder in remainders],
            A_eq=sums,
            b_eq=missing,
            bounds=list(zip([0.0] * len(cells), upper, strict=True)),
            integrality=1,
        )
        assert found.x is not None, found.message
        for (r, c), extra in zip(cells, found.x, strict=True):
            table[r][c] += round(extra)
    return table
