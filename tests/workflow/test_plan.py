"""The jobs that are told beforehand are those that the workflow makes."""

import re
from collections import Counter

import pytest

from segtrail.config import load_run, merged, read_yaml
from segtrail.data import phantoms
from segtrail.layout import Layout
from segtrail.runs.jobs import jobs
from segtrail.runs.plan import LOCAL, Plan

from .conftest import ROOT, Clone


def run_of(clone: Clone, **values: object) -> Layout:
    config = clone.folder / "config"
    return Layout(
        load_run(merged(read_yaml(config / "config.yaml"), values), config), clone.folder / "results"
    )


def dag(clone: Clone, *arguments: str) -> dict[str, tuple[str, set[str]]]:
    """Name of each job's log → its rule and the names of the jobs whose output it reads."""
    text = clone.snakemake("--dry-run", "--forceall", *arguments).stdout
    inputs, made_by, rules = {}, {}, {}
    for rule, block in zip(
        *[iter(re.split(r"^(?:local)?rule (\w+):$", text, flags=re.MULTILINE)[1:])] * 2, strict=True
    ):
        parts = dict(re.findall(r"^    (input|output|log): (.*)$", block, re.MULTILINE))
        if "log" in parts:
            name = re.sub(r"^results/[^/]+/logs/(.*)\.log$", r"\1", parts["log"])
            rules[name], inputs[name] = rule, parts.get("input", "").split(", ")
            made_by |= dict.fromkeys(parts["output"].split(", "), name)
    return {
        name: (rule, {made_by[path] for path in inputs[name] if path in made_by})
        for name, rule in rules.items()
    }


def test_each_job_has_the_rule_the_name_and_the_inputs_that_the_workflow_gives_it(clone):
    ours = {job.name: (job.rule, set(job.after)) for job in jobs(run_of(clone, run="smoke", scale="smoke"))}
    assert ours == dag(clone, "--config", "run=smoke", "scale=smoke")


def test_jobs_on_real_scans_draw_no_phantom(clone, tmp_path):
    acdc = run_of(clone, run="smoke", scale="smoke").run.datasets["acdc"]
    phantoms.write(tmp_path / "acdc", "acdc", acdc, acdc.phantoms["smoke"], seed=1)
    values = {"run": "own", "scale": "smoke", "data": {"acdc": str(tmp_path / "acdc")}}
    ours = {job.name: (job.rule, set(job.after)) for job in jobs(run_of(clone, **values))}
    assert ours == dag(clone, "--config", "run=own", "scale=smoke", f"data={{acdc: {tmp_path / 'acdc'}}}")


@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_there_are_as_many_jobs_of_each_rule(clone, scale):
    counts = clone.jobs("--forceall", "--quiet", "rules", "--config", f"run={scale}", f"scale={scale}")
    assert counts.pop("all") == 1
    assert counts == Counter(job.rule for job in jobs(run_of(clone, run=scale, scale=scale)))


def test_a_dry_run_says_once_what_the_run_would_cost(clone):
    smoke = ("--config", "run=smoke", "scale=smoke")
    told = [clone.snakemake(flag, *smoke).stderr.count("segtrail: run smoke") for flag in ("-n", "-np")]
    assert told == [1, 1]
    assert "More: segtrail plan --run smoke" in clone.snakemake("-n", *smoke).stderr
    assert "segtrail: run smoke" not in clone.snakemake("--dag", *smoke).stderr


def test_each_rule_asks_for_what_its_job_needs(clone):
    arguments = ("--forceall", "--config", "run=smoke", "scale=smoke", "members_per_job=2")
    text = clone.snakemake("--dry-run", *arguments).stdout
    asked = {}
    for block in re.split(r"^rule ", text, flags=re.MULTILINE)[1:]:
        resources = re.search(r"^    resources: (.*)$", block, re.MULTILINE)
        log = re.search(r"^    log: results/smoke/logs/(.*)\.log$", block, re.MULTILINE)
        if log and resources:
            asked[log[1]] = dict(part.split("=") for part in resources[1].split(", "))
    bill = Plan.of(run_of(clone, run="smoke", scale="smoke", members_per_job=2))
    assert set(asked) == set(bill.jobs)
    for name, resources in asked.items():
        job = bill.jobs[name]
        if job.step not in LOCAL:
            assert int(resources["mem_mb"]) == bill.asked(job, "mem_mb")
            assert int(resources["runtime"]) == bill.asked(job, "runtime")
        if job.step in ("train", "sample"):
            assert resources["gpu"] == "1"
        if job.step == "train":
            assert resources["members_per_job"] == "2"
            assert resources["pack"] == "/".join(job.of[key] for key in ("study", "cohort", "model"))


def test_the_rules_that_are_told_to_run_beside_the_controller_do():
    rules = [
        block
        for file in (ROOT / "workflow" / "rules").glob("*.smk")
        for block in re.split(r"^ *rule\b", file.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    ]
    local = {
        re.match(r"\W*(?:name:\W*f?\")?([a-z]+)", block)[1] for block in rules if "localrule: True" in block
    }
    assert local == set(LOCAL)
