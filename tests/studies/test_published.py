"""The printed numbers: every one is there, described by the study, and a broken CSV is refused."""

from collections import Counter

import pytest
import synthetic

from segtrail.errors import ConfigError
from segtrail.studies import published

PATH = synthetic.CONFIG / "published" / f"{synthetic.NAME}.csv"
HEADER = "table,row,column,value,lo,hi,note\n"


def test_all_printed_values_are_there_and_described():
    printed = published.read(PATH)
    counts: dict[str, int] = {}
    for one in printed:
        counts[one.table] = counts.get(one.table, 0) + 1
    assert counts == {
        "Table I": 10,
        "Table II": 96,
        "Suppl Table I": 54,
        "Suppl Table II": 42,
        "Suppl Table III": 30,
        "text": 5,
    }
    tables = {table.name: table for table in synthetic.study().tables}
    for one in printed:
        assert tables[one.table].cell(one.row, one.column)


@pytest.mark.parametrize(
    ("paper", "counts"),
    [
        ("jungo2019", {"Table 1": 64, "text": 4}),
        ("hoebel2019", {"Table 1": 32, "Table 2": 16, "text": 2}),
        (
            "sagar2020",
            {"Table 2": 6, "Table 3": 4, "Table 4": 4, "v1 tables (repo images img4/img5.png)": 16},
        ),
        ("eatonrosen2018", {"text": 4}),
    ],
)
def test_all_printed_values_of_the_other_papers_are_there(paper, counts):
    printed = published.read(synthetic.CONFIG / "published" / f"{paper}.csv")
    assert Counter(one.table for one in printed) == counts


@pytest.mark.parametrize(
    ("text", "decimals", "slack"),
    [("0.40", 2, 0.005), ("66", 0, 0.5), ("9.5e-05", 6, 5e-7), ("-0.5", 1, 0.05), ("1.2e-13", 14, 5e-15)],
)
def test_slack_is_half_of_the_last_printed_digit(text, decimals, slack):
    assert published.decimals(text) == decimals
    assert published.slack(text) == pytest.approx(slack)


def test_digits_and_slack_are_kept(tmp_path):
    path = tmp_path / "paper.csv"
    path.write_text(HEADER + "T,r,c,0.40,0.1,2,\nT,r,d,66,,,\n", encoding="utf-8")
    first, second = published.read(path)
    assert (first.value, first.number, first.interval) == ("0.40", 0.4, (0.1, 2.0))
    assert first.slack == pytest.approx(0.005)
    assert second.interval is None
    assert second.slack == 0.5


ROW = "T,r,c,1,,,\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("table,row,col,value\nT,r,c,1\n", "columns table,row,col,value"),
        ("T,r,c,1,,,\n", "columns T,r,c"),
        ("", "an empty file"),
        (" \n", "an empty file"),
        (HEADER, "no rows"),
        (HEADER + "T,r,c,many,,,\n", "line 2: value = 'many'"),
        (HEADER + "T,r,c,,,,\n", "line 2: value = ''"),
        (HEADER + "T,r,c,nan,,,\n", "nan"),
        (HEADER + "T,r,c,1_000,,,\n", "1_000"),
        (HEADER + 'T,r,c,"0,5",,,\n', "0,5"),
        (HEADER + "T,r,c,0.5 ±0.1,,,\n", "0.5 ±0.1"),
        (HEADER + "T,r,c,1,0,,\n", "half an interval"),
        (HEADER + "T,r,c,1,,\n", "another number of"),
        (HEADER + "T,r,c,1,,,a note, unquoted\n", "another number of"),
        (HEADER + "\n" + ROW, "line 2: 0 fields"),
        (HEADER + 'T,r,c,1,,,"a note without end\n', "line 2"),
        (HEADER + ROW + "T,r,c,2,,,\n", "line 3: a second row for T / r / c"),
        (HEADER + ROW + ",r,d,1,,,\n", "line 3: no table"),
        (HEADER + "T,,c,1,,,\n", "line 2: no row"),
        (HEADER + "T,r, ,1,,,\n", "line 2: no column"),
        (HEADER.encode("utf-8-sig") + ROW.encode(), "a byte-order mark"),
        ((HEADER + ROW).replace("\n", "\r\n"), "Windows line ends"),
        ((HEADER + "T,ré,c,1,,,\n").encode("latin-1"), "byte 0xe9 in line 2 is not UTF-8"),
        ((HEADER + ROW).encode("utf-16"), "byte 0xff in line 1 is not UTF-8"),
    ],
)
def test_a_broken_csv_is_refused(tmp_path, text, found):
    path = tmp_path / "paper.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        published.read(path)
    for part in (found, str(path), "expected:"):
        assert part in str(caught.value)


def test_a_spreadsheet_is_said_to_drop_digits(tmp_path):
    path = tmp_path / "paper.csv"
    path.write_bytes((HEADER + "T,r,c,0.40,,,\n").encode("utf-8-sig"))
    with pytest.raises(ConfigError, match="no digits were lost"):
        published.read(path)


def test_an_interval_that_is_none_is_left_to_the_audit(tmp_path):
    """What a paper prints is kept as it is, right or wrong."""
    path = tmp_path / "paper.csv"
    path.write_text(HEADER + "T,r,c,1,2,0,\n", encoding="utf-8")
    assert published.read(path)[0].interval == (2.0, 0.0)


def test_a_missing_csv_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.csv"):
        published.read(tmp_path / "none.csv")
