"""The shipped files: what the audit finds in the five papers, and what a broken rules file says."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from segtrail.audit.paper import audit_paper, audit_printed, check_published, papers
from segtrail.audit.show import violations
from segtrail.cli import app
from segtrail.config import named_run
from segtrail.config.audit import load_audit
from segtrail.config.results import MeanCell
from segtrail.errors import ConfigError
from segtrail.studies import published

CONFIG = Path(__file__).parents[2] / "config"
RUN = named_run("demo", None, CONFIG)
FOUND = {name: audit_paper(name, CONFIG) for name in papers(CONFIG)}


def violated(study: str, rule: str) -> list:
    return [one for one in FOUND[study] if one.rule == rule and one.status == "violated"]


def test_all_five_papers_are_there():
    assert set(FOUND) == {"eatonrosen2018", "hoebel2019", "jungo2019", "mehrtash2020", "sagar2020"}


@pytest.mark.parametrize("study", sorted(FOUND))
def test_every_finding_is_whole(study):
    for one in FOUND[study]:
        values = one.as_dict(study)
        assert json.loads(json.dumps(values, allow_nan=False)) == values
        assert one.sentence
        if one.status != "not applicable":
            assert values["where"]
            assert (one.margin >= -1e-12) == (one.status == "holds")
        assert bool(one.repair) == (one.status == "violated")


def test_brier_as_defined_by_equation_4_is_impossible_and_as_a_sum_it_is_not():
    rule = violated("mehrtash2020", "NLL ≥ 1.2277·K·Brier")
    repaired = [one for one in rule if one.repair == "holds if Brier is the sum over classes (without 1/K)"]
    assert Counter(one.places[0][0] for one in rule)["Table II"] == 15
    assert Counter(one.places[0][0] for one in rule)["Suppl Table III"] == 3
    unrepaired = {one.places[0][:2] for one in rule if one not in repaired}
    assert unrepaired == {("Table II", "Heart (MCDO L_DSC)"), ("Suppl Table I", "Heart (MCDO L_DSC)")}


def test_two_pairs_of_rows_are_copies_and_the_text_fits_the_heart():
    first, second = violated("mehrtash2020", "rows differ")
    assert {place[1] for place in first.places} == {"Brain (L_DSC)", "Heart (L_DSC)"}
    assert {place[1] for place in second.places} == {"Brain (EN L_DSC)", "Heart (EN L_DSC)"}
    for one in (first, second):
        assert "all 9 numbers" in one.repair
        assert one.repair.endswith("contradicts 0")
        assert "Brain" in one.repair.split("statements ")[1].split(" contradicts")[0]


def test_an_error_above_what_the_loss_allows():
    found = violated("mehrtash2020", "NLL ≥ −ln(1−ECE)")
    assert {one.places[0][:2] for one in found} == {
        ("Table II", "Heart (MCDO L_DSC)"),
        ("Suppl Table I", "Heart (MCDO L_DSC)"),
    }


def test_the_p_values_of_one_row_are_of_fewer_cases():
    (row,) = violated("hoebel2019", "one n for a row")
    assert {place[1] for place in row.places} == {"tumor dice large"}
    assert row.repair == "fits n = 51, not 55; one or another of them fits n = 50…52"
    assert len(violated("hoebel2019", "p from ρ and n")) == 3
    (wcc,) = [
        one for one in FOUND["hoebel2019"] if one.rule == "one n for a row" and "tumor wcc" in one.sentence
    ]
    assert "together fit n = 55:" in wcc.sentence


@pytest.mark.parametrize(
    ("study", "rule", "texts"),
    [
        ("mehrtash2020", "text against table", ["35", "50", "Prostate/PROMISE12"]),
        ("mehrtash2020", "text against table", ["190", "285"]),
        ("mehrtash2020", "at most", ["M of the ensembles in 3D 50", "10"]),
        ("mehrtash2020", "larger ensembles are no worse", ["Brain (L_DSC)", "62 %"]),
        ("mehrtash2020", "order of rows", ["Prostate (L_CE) ECE% 8.08", "5.72"]),
        ("mehrtash2020", "order of rows", ["Prostate (L_CE) ECE% 2.15", "1.94"]),
        ("mehrtash2020", "order of rows", ["Prostate (EN L_CE) ECE% 2.62", "2.15"]),
        ("mehrtash2020", "order of rows", ["Prostate3D (EN L_CE) ECE% 9.23", "8.25"]),
        ("mehrtash2020", "order of rows", ["Brain (MCDO L_DSC) NLL 1.14", "0.62"]),
        ("mehrtash2020", "order of rows", ["Heart (MCDO L_DSC) Brier 0.45", "0.23"]),
        ("mehrtash2020", "interval of a mean", ["Table II / Brain (L_CE) / Dice I", "0 to 0.84"]),
        ("jungo2019", "counts add up", ["285", "265"]),
        ("jungo2019", "order of rows", ["ISIC ECE% 7.36", "7.256"]),
        ("jungo2019", "order of rows", ["ISIC Dice 0.813", "0.814"]),
        ("hoebel2019", "text against table", ["0.52", "0.53"]),
        ("hoebel2019", "text against table", ["0.47", "0.48"]),
        ("hoebel2019", "order of columns", ["tumor dice large rho Dpw 0.68", "-0.76"]),
        ("hoebel2019", "order of columns", ["liver wcc large rho Ulabelled -0.69", "rho CV -0.77"]),
        ("hoebel2019", "order of rows", ["liver wcc large rho Ulabelled -0.69", "-0.73"]),
        ("sagar2020", "text against table", ["175", "285"]),
        ("sagar2020", "text against table", ["Table 2", "caption"]),
        ("sagar2020", "one column, one measure", ["predictive_entropy in Deep ensembles"]),
        ("sagar2020", "at most", ["randomly initialised U-Net at 5 patients 62", "53.1"]),
    ],
)
def test_a_contradiction_that_readers_found_is_found(study, rule, texts):
    found = [f"{one.where} {one.sentence} {one.repair}" for one in violated(study, rule)]
    assert any(all(part in one for part in texts) for one in found), found


def test_what_is_unlikely_but_possible_holds():
    pairs = [one for one in FOUND["sagar2020"] if one.rule == "Dice and IoU"]
    assert len(pairs) == 12
    assert {one.status for one in pairs} == {"holds"}
    assert "at most 59% of the images have a Dice from 0.2 to 0.9" in pairs[0].sentence


def test_ranks_and_their_sums_are_right():
    ranks = [one for one in FOUND["jungo2019"] if one.rule == "dense ranks"]
    assert len(ranks) == 64
    (sums,) = [one for one in FOUND["jungo2019"] if one.rule == "rank sums"]
    assert {one.status for one in [*ranks, sums]} == {"holds"}
    assert "ensemble 15, auxiliary segm. 21, auxiliary feat. 22, baseline+MC 25, baseline 26" in sums.sentence


def test_a_planted_error_is_found_and_nothing_else_changes():
    rules = load_audit(CONFIG / "audit" / "jungo2019.yaml")
    printed = published.read(CONFIG / "published" / "jungo2019.csv")
    planted = [
        type(one)(**{**vars(one), "value": "1.25"})
        if one.place == ("Table 1", "center", "ISIC Dice")
        else one
        for one in printed
    ]
    before = {one.rule: 0 for one in FOUND["jungo2019"]}
    before |= Counter(one.rule for one in audit_printed(printed, rules, "r") if one.status == "violated")
    after = Counter(one.rule for one in audit_printed(planted, rules, "r") if one.status == "violated")
    changed = {rule for rule in after if after[rule] != before[rule]}
    # Above 1; first of all, so that every rank is off; better than baseline, and worse with MC dropout.
    assert changed == {"range", "dense ranks", "order of rows"}
    assert after["dense ranks"] == 8


def test_the_rules_file_of_mehrtash_means_what_its_study_means():
    study = RUN.studies["mehrtash2020"]
    rules = load_audit(CONFIG / "audit" / "mehrtash2020.yaml")
    means = 0
    for one in published.read(CONFIG / "published" / "mehrtash2020.csv"):
        cell, meaning = published.recipe(one, study), rules.tables[one.table].meaning(one.row, one.column)
        if isinstance(cell, MeanCell):
            means += 1
            assert cell.measure in (meaning.measure, *meaning.readings), one.place
            assert (cell.region, cell.factor) == (meaning.region, meaning.factor), one.place
            if meaning.classes:
                assert meaning.classes == len(study.cohorts[cell.cohort].segments) + 1
    assert means == 222


# --- what is wrong is said ---------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path) -> Path:
    """A copy of two papers, for a test to break."""
    for folder in ("published", "audit"):
        (tmp_path / folder).mkdir()
        for path in (CONFIG / folder).glob("[eh]*"):
            shutil.copy(path, tmp_path / folder)
    return tmp_path


def refused(config: Path, study: str = "eatonrosen2018") -> str:
    with pytest.raises(ConfigError) as caught:
        audit_paper(study, config)
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("  text:\n    rows", "  Table 9:\n    rows", ["tables.Table 9", "one of: text"]),
        ("HRhetero: {}", "HRother: {}", ["HRother", "HRhetero", "not printed"]),
        ("      HRhetero: {}\n", "", ["text / HRhetero / mean Dice whole", "no such row", "measure: other"]),
        ("measure: dice", "measure: dise", ["tables.text.columns.mean Dice whole.measure", "dise", "'dice'"]),
        ("measure: dice", "measur: dice", ["measur", "allowed here", "measure, n, readings"]),
        ("measure: dice, ", "", ["no measure", "HRdrop_all"]),
        ("kind: shares", "kind: share", ["statements.0", "share", "'shares'"]),
        (
            "    shares:\n",
            "    parts: []\n    shares:\n",
            ["parts", "allowed here", "of, says, shares, where"],
        ),
        ('text: "70"', 'text: "seventy"', ["statements.0", "seventy", "no number"]),
        ('text: "70", what: per cent for training', 'what: "70"', ["either cell or text"]),
        ("[HRdrop_all, HRdefault]", "[HRdrop_all, HRdefold]", ["HRdefold", "rows there", "HRdefault"]),
        ("title:", "titel:", ["titel", "title"]),
        ("    where: §", "    wher: §", ["statements.0", "where", "Field required"]),
    ],
)
def test_a_mistake_in_a_rules_file_is_named(config, old, new, named):
    path = config / "audit" / "eatonrosen2018.yaml"
    content = path.read_text(encoding="utf-8")
    assert old in content
    path.write_text(content.replace(old, new, 1), encoding="utf-8")
    message = refused(config)
    for part in ("eatonrosen2018.yaml", *named):
        assert part in message, message


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (
            "text,HRdrop_all,mean Dice whole,0.86,,,\n",
            ["a second row for text / HRdrop_all / mean Dice whole"],
        ),
        ("text,HRnew,mean Dice whole,much,,,\n", ["'much'", "a number"]),
        ("text,HRnew,mean Dice whole,nan,,,\n", ["'nan'", "a number"]),
        ("text,HRnew,mean Dice whole,0.5,,,\n", ["text / HRnew / mean Dice whole", "no such row"]),
        ("Table 7,HRdrop_all,mean Dice whole,0.5,,,\n", ["Table 7", "no such table"]),
    ],
)
def test_a_mistake_in_a_csv_is_named(config, line, named):
    path = config / "published" / "eatonrosen2018.csv"
    path.write_text(path.read_text(encoding="utf-8") + line, encoding="utf-8")
    message = refused(config)
    for part in named:
        assert part in message, message


def test_a_paper_without_rules_or_numbers_is_named(config):
    (config / "audit" / "hoebel2019.yaml").unlink()
    assert "hoebel2019.yaml" in refused(config, "hoebel2019")
    (config / "published" / "eatonrosen2018.csv").unlink()
    assert "eatonrosen2018.csv" in refused(config)
    assert "one of: eatonrosen2018, hoebel2019" in refused(config, "mehrtash")


def test_numbers_of_an_unknown_paper_are_named(config):
    path = config / "published" / "doe2021.csv"
    shutil.copy(config / "published" / "eatonrosen2018.csv", path)
    named = ["unknown paper: doe2021", str(path), "eatonrosen2018, hoebel2019", "audit/doe2021.yaml"]
    for message in (refused(config, "doe2021"), refused_at_start(config)):
        for part in named:
            assert part in message, message


def refused_at_start(config: Path, studies: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigError) as caught:
        check_published(
            RUN.model_copy(update={"studies": {name: RUN.studies[name] for name in studies}}), config
        )
    return str(caught.value)


def test_a_run_starts_only_with_numbers_that_are_whole_and_described(tmp_path):
    for folder in ("published", "audit", "studies"):
        shutil.copytree(CONFIG / folder, tmp_path / folder)
    check_published(RUN, tmp_path)
    # A paper without a rules file has only its study, and its numbers need no more.
    (tmp_path / "audit" / "mehrtash2020.yaml").unlink()
    check_published(RUN, tmp_path)
    path = tmp_path / "published" / "mehrtash2020.csv"
    content = path.read_text(encoding="utf-8")
    path.write_text(content + "Table II,Brain (L_CE),Dice IV,0.5,,,\n", encoding="utf-8")
    message = refused_at_start(tmp_path, ("mehrtash2020",))
    assert "Table II / Brain (L_CE) / Dice IV is printed, but the study does not say what it is" in message
    # Another paper's mistake stops the run too: the report shows all of them.
    path.write_text(content, encoding="utf-8")
    (tmp_path / "published" / "jungo2019.csv").write_bytes(b"")
    assert "jungo2019.csv" in refused_at_start(tmp_path, ("mehrtash2020",))


def test_a_column_that_no_rule_reads_is_told(config):
    path = config / "audit" / "eatonrosen2018.yaml"
    path.write_text(
        path.read_text(encoding="utf-8").replace("measure: dice", "measure: other"), encoding="utf-8"
    )
    found = [one for one in audit_paper("eatonrosen2018", config) if one.sentence == "no rule reads it"]
    assert len(found) == 4
    assert {one.status for one in found} == {"not applicable"}


# --- the command -------------------------------------------------------------------------------------


def test_the_command_prints_counts_violations_and_repairs(monkeypatch):
    monkeypatch.chdir(CONFIG.parent)
    done = CliRunner().invoke(app, ["audit", "hoebel2019"])
    assert done.exit_code == 0, done.output
    for part in (
        "hoebel2019",
        "p from ρ and n",
        "violated:",
        "repair: fits n = 51…52, not 55",
        "not applicable",
    ):
        assert part in done.output, done.output


def test_the_command_prints_json_of_all_papers(monkeypatch):
    monkeypatch.chdir(CONFIG.parent)
    done = CliRunner().invoke(app, ["audit", "--json"])
    assert done.exit_code == 0, done.output
    values = json.loads(done.stdout)
    assert {one["study"] for one in values} == set(FOUND)
    assert {one["status"] for one in values} == {"holds", "violated", "not applicable"}
    assert {"study", "rule", "where", "status", "margin", "sentence", "repair"} <= set(values[0])
    assert len(values) == sum(map(len, FOUND.values()))


def test_the_command_names_an_unknown_paper(monkeypatch):
    monkeypatch.chdir(CONFIG.parent)
    done = CliRunner().invoke(app, ["audit", "nobody1999"])
    assert done.exit_code == 1
    assert "nobody1999" in done.output
    assert "hoebel2019" in done.output
    assert "Traceback" not in done.output


def test_the_command_says_what_it_misses(monkeypatch, tmp_path):
    monkeypatch.chdir(CONFIG.parent)
    done = CliRunner().invoke(app, ["audit", "--root", "acdc=/data"])
    assert done.exit_code == 1
    assert "without --run" in done.output
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["audit"])
    assert done.exit_code == 1
    assert "start the command in the clone's root" in done.output


def test_violations_that_one_repair_mends_are_told_together():
    lines = violations(FOUND["mehrtash2020"])
    assert len(lines) < 110
    assert "  and 12 more" in lines  # 15 in Table II, one of which that reading does not mend
