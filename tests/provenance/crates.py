"""A finished run that took no time: every job's outputs and receipt, with contents that mean nothing."""

from segtrail.files import read_json, sha256_of, write_json, write_text
from segtrail.layout import Layout
from segtrail.provenance import receipts
from segtrail.provenance.keys import Keys, records_of
from segtrail.provenance.making import is_data
from segtrail.runs.jobs import Job, outputs

ENVIRONMENT = {
    "segtrail": "0.1.0",
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "changed": False,
    "lock": sha256_of("a lock"),
    "python": "3.11.7",
    "machine": "Linux x86_64",
    "libraries": {"snakemake": "9.27.1", "torch": "2.13.0"},
}


def finished(layout: Layout) -> None:
    """Fills the layout's tree as `snakemake all` does; the working directory is the clone."""
    layout.claim_tree()
    for dataset, subjects in layout.planned.items():
        for subject in subjects:
            record = {"files": {file: sha256_of(file) for file in subject.files}, "found": {}}
            write_json(layout.data(dataset) / "records" / f"{subject.id}.json", record)
    keys = Keys(layout)
    for job in keys.jobs.values():
        made = [artifact for artifact in outputs(layout, job) if not is_data(artifact)]
        for artifact in made:
            path = layout.tree / artifact
            write_text(path if path.suffix else path / "0.npy", f"what {job.name} made: {artifact}\n")
        write_json(receipts.path(layout.tree, job.name), receipt(layout, keys, job, made))


def receipt(layout: Layout, keys: Keys, job: Job, made: list[str]) -> dict:
    """As `making` writes it."""
    return {
        "format": receipts.FORMAT,
        "run": layout.run.name,
        "job": job.name,
        "rule": job.rule,
        "key": keys.key(job.name),
        "made_from": keys.made_from(job.name),
        "read": {},
        "scans": {name: read_json(path)["files"] for name, path in records_of(layout, job).items()},
        "outputs": receipts.contents(layout.tree, made),
        "environment": ENVIRONMENT,
        "finished": "2026-11-21T09:30:00-05:00",
        "seconds": 90.4,
    }
