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


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("table,row,col,value\nT,r,c,1\n", "columns"),
        (HEADER, "no rows"),
        (HEADER + "T,r,c,many,,,\n", "many"),
        (HEADER + "T,r,c,,,,\n", "value"),
        (HEADER + "T,r,c,nan,,,\n", "nan"),
        (HEADER + "T,r,c,1,0,,\n", "half an interval"),
        (HEADER + "T,r,c,1,,\n", "number of fields"),
        (HEADER + "T,r,c,1,,,\nT,r,c,2,,,\n", "second row for T / r / c"),
    ],
)
def test_a_broken_csv_is_refused(tmp_path, text, found):
    path = tmp_path / "paper.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=found) as caught:
        published.read(path)
    assert str(path) in str(caught.value)


def test_a_missing_csv_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.csv"):
        published.read(tmp_path / "none.csv")
