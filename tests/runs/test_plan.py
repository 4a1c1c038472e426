"""What a run will cost, and what its rules ask for."""

import json
import math
import runpy
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from segtrail.cli import app
from segtrail.config import load_run, merged
from segtrail.errors import ConfigError
from segtrail.layout import Layout
from segtrail.runs.jobs import NAMES, job_of, jobs
from segtrail.runs.plan import LOCAL, Plan, number, posteriors_at_once, read_rates, total
from segtrail.runs.quantities import Counted

ROOT = Path(__file__).parents[2]
RATES = ROOT / "config" / "rates.csv"
STUDY = "mehrtash2020"
HEADER = "step,resource,unit,rate,basis,hardware,how\n"
TRAIN = job_of("train", study=STUDY, cohort="brain", model="ce", member="000")


def plan(rates: Path = RATES, **values: Any) -> Plan:
    base = {"run": "test", "scale": "paper", "studies": [STUDY]}
    return Plan.of(Layout(load_run(merged(base, values), ROOT / "config")), rates)


def lines_of(whole: Plan, step: str) -> list[Any]:
    names = {job.rule for job in whole.jobs.values() if job.step == step}
    return [line for line in whole.lines if line.rule in names]


# --- rates ---------------------------------------------------------------------------------------


def test_every_step_has_a_time_and_a_memory_and_says_how_it_was_measured():
    rates = read_rates(RATES)
    for resource in ("cpu seconds", "memory MB"):
        assert {rate.step for rate in rates if rate.resource == resource and rate.rate > 0} == set(NAMES)
    assert all(rate.hardware and rate.how for rate in rates)
    assert len({(rate.step, rate.resource, rate.unit) for rate in rates}) == len(rates)


def test_no_time_on_a_gpu_is_called_measured_before_one_was_seen():
    rates = [rate for rate in read_rates(RATES) if rate.resource == "gpu seconds"]
    assert {rate.step for rate in rates} == {"train", "predictions", "sample"}
    assert {rate.basis for rate in rates} == {"arithmetic"}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("tarin,cpu seconds,job,1,measured,x,y", "line 2: step = 'tarin'"),
        ("train,seconds,job,1,measured,x,y", "resource = 'seconds'"),
        ("train,cpu seconds,slice,1,measured,x,y", "unit = 'slice'"),
        ("train,cpu seconds,job,fast,measured,x,y", "rate = 'fast'"),
        ("train,cpu seconds,job,-1,measured,x,y", "rate = '-1'"),
        ("train,cpu seconds,job,1,guessed,x,y", "basis = 'guessed'"),
    ],
)
def test_a_table_of_rates_that_is_none_is_told_by_line(tmp_path, row, told):
    (tmp_path / "rates.csv").write_text(HEADER + row + "\n")
    with pytest.raises(ConfigError, match=told) as error:
        read_rates(tmp_path / "rates.csv")
    assert "expected" in str(error.value)


def test_a_missing_table_is_told(tmp_path):
    with pytest.raises(ConfigError, match="no table of rates"):
        read_rates(tmp_path / "rates.csv")


# --- the bill ------------------------------------------------------------------------------------


@pytest.fixture
def unit_rates(tmp_path) -> Path:
    """An hour for each job, two on a GPU, a GB of memory; a GB kept by each member, passed by each sample."""
    rows = [f"{step},cpu seconds,job,3600,measured,x,y" for step in NAMES]
    rows += [f"{step},memory MB,job,1000,measured,x,y" for step in NAMES]
    rows += [f"{step},gpu seconds,job,7200,arithmetic,x,y" for step in ("train", "sample")]
    rows += ["train,kept MB,job,1000,arithmetic,x,y", "sample,passing MB,job,1000,arithmetic,x,y"]
    path = tmp_path / "rates.csv"
    path.write_text(HEADER + "\n".join(rows) + "\n")
    return path


def test_the_bill_is_the_sum_over_all_jobs(unit_rates):
    bill = plan(unit_rates)
    counts = Counter(job.step for job in bill.jobs.values())
    whole = total(bill.lines)
    on_gpu = counts["train"] + counts["sample"]
    assert whole.jobs == counts.total() == len(jobs(bill.layout))
    assert whole.gpu_hours == 2 * on_gpu
    assert whole.cpu_hours == counts.total() - on_gpu
    assert whole.cpu_hours_without_gpu == counts.total()
    assert whole.kept_gb == counts["train"] == 700
    assert bill.passing_gb(50) == 50
    assert bill.passing_gb(10**6) == bill.posteriors == counts["sample"]
    assert whole.submissions == counts.total() - sum(counts[step] for step in LOCAL)


def test_the_longest_chain_goes_through_every_stage_once(unit_rates):
    bill = plan(unit_rates)
    seconds, path = bill.chain
    steps = [bill.jobs[name].step for name in path]
    assert steps == [
        *("phantom", "preprocess", "train", "sample", "measure", "collect", "cells", "tables", "report")
    ]
    assert seconds == 3600 * 11  # nine jobs, two of which take two hours


def test_members_that_share_a_submission_are_fewer_submissions_and_a_longer_chain(unit_rates):
    one, seven = plan(unit_rates), plan(unit_rates, members_per_job=7)
    # 100 members in 15 packs, 10 members in 2: six models of a hundred, ten of ten.
    (train,) = lines_of(seven, "train")
    assert (train.jobs, train.submissions) == (700, 6 * 15 + 10 * 2)
    assert seven.chain[0] == one.chain[0] + 6 * 7200
    assert total(seven.lines).gpu_hours == total(one.lines).gpu_hours


def test_without_a_gpu_all_hours_are_cpu_hours(unit_rates):
    bill = plan(unit_rates, device="cpu")
    whole = total(bill.lines)
    assert whole.gpu_hours == 0
    assert whole.cpu_hours == whole.cpu_hours_without_gpu == len(bill.jobs)
    assert bill.chain[0] == 3600 * 9


def test_processes_of_a_preprocessing_job_divide_its_time_and_not_its_cost(unit_rates):
    bill = plan(unit_rates)
    whole = job_of("preprocess", study=STUDY, cohort="brain", chunk="train")  # 66 subjects, four processes
    assert bill.cost(whole).cpu_seconds == 3600
    assert bill.cost(whole).seconds == 900


def test_the_paper_scale_costs_what_its_protocol_says():
    whole = total(plan().lines)
    # 600 2D trainings of 1000 epochs are known to be 1.2e9 slice-steps, 48 to 119 hours eager on an H200.
    assert 48 < lines_of(plan(), "train")[0].gpu_hours < 250
    assert whole.cpu_hours_without_gpu > 20 * whole.gpu_hours
    few = total(plan(overrides={STUDY: {"models": {"ce_dropout": {"members": 5}}}}).lines)
    assert few.jobs == whole.jobs - 3 * 5  # prostate3d has its own number of members
    assert few.gpu_hours < whole.gpu_hours


# --- what rules ask for --------------------------------------------------------------------------


def test_each_attempt_asks_for_more_time_and_memory():
    bill = plan()
    for job in bill.jobs.values():
        for resource in ("mem_mb", "runtime"):
            asked = [bill.asked(job, resource, attempt) for attempt in (1, 2, 3, 4)]
            assert asked == sorted(set(asked))
            assert all(isinstance(value, int) for value in asked)


def test_each_job_asks_for_more_than_is_expected_of_it():
    bill = plan(members_per_job=3)
    for job in bill.jobs.values():
        cost = bill.cost(job)
        assert bill.asked(job, "mem_mb") >= max(1000, 1.5 * cost.memory_mb)
        assert bill.asked(job, "runtime") * 60 >= max(1200, 4 * cost.seconds * bill.pack(job))
        assert bill.asked(job, "disk_mb") >= cost.kept_mb + cost.passing_mb


def test_the_time_of_a_training_is_that_of_its_pack_on_the_device_of_the_run(unit_rates):
    assert plan(unit_rates).asked(TRAIN, "runtime") == 4 * 120
    assert plan(unit_rates, members_per_job=5).asked(TRAIN, "runtime") == 4 * 120 * 5
    assert plan(unit_rates, device="cpu").asked(TRAIN, "runtime") == 4 * 60


def test_no_job_of_the_paper_scale_is_shorter_than_its_overhead():
    """Chunks of subjects: a SLURM job costs up to 11 s, a start of python with torch 2 s more."""
    bill = plan(device="cpu")
    for step in ("sample", "measure"):
        costs = [bill.cost(job).seconds for job in bill.jobs.values() if job.step == step]
        assert sum(costs) / len(costs) > 60


# --- the command ---------------------------------------------------------------------------------


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["plan", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def in_clone(tmp_path, monkeypatch):
    (tmp_path / "config").symlink_to(ROOT / "config")
    monkeypatch.chdir(tmp_path)


def test_the_command_prints_each_rule_the_totals_and_where_rates_are_from(in_clone):
    text = run("--run", "paper")
    for expected in ("train", "phantom_brats17", "GPU-hours", "NOT MEASURED", "Longest chain", "arithmetic"):
        assert expected in text
    assert not Path("results").exists()


def test_the_command_as_json(in_clone):
    told = json.loads(run("--run", "paper", "--at-once", "10", "--json"))
    assert told["total"]["jobs"] == sum(line["jobs"] for line in told["lines"])
    assert told["disk_gb"]["posteriors_at_once"] == 10
    assert math.isclose(told["total"]["gpu_hours"], sum(line["gpu_hours"] for line in told["lines"]))
    assert told["chain"]["jobs"][-1] == "report"
    assert {rate["basis"] for rate in told["rates"]} == {"measured", "arithmetic"}


def test_a_table_of_ones_own_counts(in_clone, unit_rates):
    told = json.loads(run("--run", "smoke", "--rates", str(unit_rates), "--json"))
    assert told["total"]["cpu_hours_without_gpu"] == told["total"]["jobs"]


def test_the_profile_tells_how_many_posteriors_may_exist_together(tmp_path):
    (tmp_path / "config.yaml").write_text("jobs: 7\n")
    assert posteriors_at_once(tmp_path / "config.yaml") == 7


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (0.00214, "0.0021"), (0.43, "0.43"), (5.06, "5.1"), (1234.5, "1,234")]
)
def test_numbers_have_two_digits_that_say_something(value, shown):
    assert number(value) == shown


# --- benchmarks/rates.py -------------------------------------------------------------------------

TAKES = {"job": 2.0, "GFLOP 2D": 0.05, "GFLOP 3D": 0.2, "draw Mvoxel": 0.3, "scan Mvoxel": 4.0}


@pytest.fixture
def rates_script(monkeypatch) -> dict[str, Callable[..., Any]]:
    monkeypatch.chdir(ROOT)
    return runpy.run_path(str(ROOT / "benchmarks" / "rates.py"))


@pytest.fixture
def finished(tmp_path) -> Path:
    """A tree whose benchmark files are exactly what TAKES says, some jobs disturbed by others."""
    tree = tmp_path / "smoke"
    layout = Layout(
        load_run({"run": "smoke", "scale": "smoke", "studies": [STUDY]}, ROOT / "config"), tmp_path
    )
    counted = Counted(layout)
    for job in jobs(layout):
        handled = counted.of(job)
        if job.step == "train":  # stopped after one of two epochs
            history = layout.cohort(STUDY, job.of["cohort"]) / "members" / job.of["model"]
            history.mkdir(parents=True, exist_ok=True)
            (history / f"{job.of['member']}.csv").write_text("epoch\n1\n")
            handled = {unit: value / (2 if "GFLOP" in unit else 1) for unit, value in handled.items()}
        seconds = sum(rate * handled.get(unit, 0.0) for unit, rate in TAKES.items())
        seconds *= 3 if job.of.get("member") == "001" else 1
        path = tree / "benchmarks" / f"{job.name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        memory = 100 + handled.get("array MB", 0.0)
        path.write_text(f"s\tmax_rss\tcpu_time\n{seconds}\t{memory}\t{seconds}\n")
    return tree


def test_rates_are_found_again_in_benchmark_files(rates_script, finished):
    seen = rates_script["finished"](str(finished))
    new = rates_script["refitted"](read_rates(RATES), seen, "a machine", False)
    found = {(rate.step, rate.resource, rate.unit): rate for rate in new}
    for step in ("train", "sample"):
        for unit in ("job", "GFLOP 2D", "GFLOP 3D"):
            assert found[step, "cpu seconds", unit].rate == pytest.approx(TAKES[unit], rel=0.02)
            assert found[step, "cpu seconds", unit].hardware == "a machine"
    assert found["train", "memory MB", "array MB"].rate == pytest.approx(1, rel=0.02)
    untouched = [
        rate for rate in read_rates(RATES) if rate.resource in ("gpu seconds", "kept MB", "passing MB")
    ]
    assert untouched
    assert set(untouched) <= set(new)


def test_on_a_gpu_the_time_of_networks_is_a_gpus(rates_script, finished):
    seen = rates_script["finished"](str(finished))
    new = rates_script["refitted"](read_rates(RATES), seen, "a card", True)
    times = {(rate.step, rate.resource): rate for rate in new if rate.unit == "GFLOP 2D"}
    assert times["train", "gpu seconds"].basis == "measured"
    assert times["train", "gpu seconds"].rate == pytest.approx(TAKES["GFLOP 2D"], rel=0.02)
    assert times["train", "cpu seconds"] in read_rates(RATES)


def test_a_training_that_went_on_after_a_kill_is_left_out(rates_script, finished):
    log = finished / "logs" / STUDY / "heart" / "train_ce_000.log"
    log.parent.mkdir(parents=True)
    log.write_text("12:00:00 goes on after epoch 1, restart 0\n")
    names = [job.name for job in rates_script["finished"](str(finished))]
    assert f"smoke/{STUDY}/heart/train_ce_000" not in names
    assert f"smoke/{STUDY}/heart/train_ce_001" in names
