import json

from segtrail.studies.metrics import write_metrics

CELLS = """\
study,table,row,column,published,reproduced,verdict
toy,Table I,"Heart, single",NLL,0.5,0.25,within published interval
toy,Table I,"Heart, single",Dice III,0.5,,not computed
toy,Table II,all,n,3,3,within published interval
"""


def test_numbers_by_table_row_and_column_and_the_counts_of_verdicts(tmp_path):
    (tmp_path / "cells.csv").write_text(CELLS)
    write_metrics(tmp_path / "cells.csv", tmp_path / "metrics.json")
    assert json.loads((tmp_path / "metrics.json").read_text()) == {
        "cells": {"Table I": {"Heart, single": {"NLL": 0.25}}, "Table II": {"all": {"n": 3.0}}},
        "verdicts": {"within published interval": 2, "not computed": 1},
    }
