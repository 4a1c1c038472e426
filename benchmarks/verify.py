"""How long `segtrail verify` takes for a tree of more than 20,000 artifacts, against the obvious way.

`python benchmarks/verify.py` makes such a tree in a temporary folder (100 MB; small files with the receipts
of 999 members for each model), and prints a table in a few minutes. Each way runs in a process of its own,
from the start of Python to its end; they take turns, and the best of three counts.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
SIZE = 4096  # bytes of each file
RUN = """
run: many
scale: smoke
overrides:
  mehrtash2020:
    models:
"""
WAYS = ("one by one", "segtrail verify")


def make(folder: Path) -> int:
    """Fills a clone at `folder`, the working directory, as a run would; returns how many artifacts it has."""
    from segtrail.config import named_run, read_yaml
    from segtrail.files import json_text
    from segtrail.layout import Layout
    from segtrail.provenance import receipts
    from segtrail.provenance.keys import Keys
    from segtrail.provenance.making import is_data
    from segtrail.runs.jobs import outputs

    for part in ("config", "workflow"):
        (folder / part).symlink_to(ROOT / part)
    models = read_yaml(Path("config/studies/mehrtash2020.yaml"))["models"]
    Path("run.yaml").write_text(RUN + "".join(f"      {name}: {{members: 999}}\n" for name in models))
    layout = Layout(named_run(None, Path("run.yaml"), Path("config")))
    layout.claim_tree()
    for dataset in layout.run.datasets:
        for record in map(Path, layout.records(dataset)):
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text('{"files": {}}')
    keys, count = Keys(layout), 0
    for name, job in keys.jobs.items():
        made = [path for path in outputs(layout, job) if not is_data(path)]
        count += len(made)
        files = [layout.tree / (path if Path(path).suffix else f"{path}/one.npz") for path in made]
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(str(file).encode().ljust(SIZE))
        receipt = {
            "format": receipts.FORMAT,
            "run": "many",
            "job": name,
            "rule": job.rule,
            "key": keys.key(name),
            "made_from": keys.made_from(name),
            "outputs": receipts.contents(layout.tree, made),
            "environment": {},
        }
        file = receipts.path(layout.tree, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json_text(receipt))
    return count


def one_by_one() -> bool:
    """Each file: its job's receipt is read, its key made and compared, its content hashed."""
    from segtrail.config import named_run
    from segtrail.files import sha256_of, sha256_of_file
    from segtrail.layout import Layout
    from segtrail.provenance import receipts
    from segtrail.provenance.keys import Keys, code_of, own
    from segtrail.runs.jobs import outputs

    layout = Layout(named_run(None, Path("run.yaml"), Path("config")))
    keys, right = Keys(layout), True
    for name, job in keys.jobs.items():
        for artifact in outputs(layout, job):
            for file in receipts.files_of(layout.tree / artifact):
                path = str(file.relative_to(layout.tree))
                if (receipt := receipts.read(layout.tree, name)) is None or path not in receipt["outputs"]:
                    continue
                after = {before: keys.key(before) for before in job.after}
                made_from = own(layout, job) | {"code": code_of(job), "after": after}
                right &= receipt["key"] == sha256_of(made_from)
                right &= receipt["outputs"][path]["sha256"] == sha256_of_file(file)
    return right


def seconds(way: str) -> float:
    start = time.perf_counter()
    command = [sys.executable, __file__, way]
    if way == "segtrail verify":
        command = [str(Path(sys.executable).with_name("segtrail")), "verify", "--config", "run.yaml"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        count = make(Path(folder))
        times = {way: [] for way in WAYS}
        for _ in range(3):
            for way in WAYS:
                times[way].append(seconds(way))
        os.chdir(ROOT)
    best = {way: min(found) for way, found in times.items()}
    print(f"{count} artifacts of {SIZE} bytes")
    print(f"{'way':<18}{'seconds':>9}{'ratio':>8}  wanted")
    for way, value in best.items():
        wanted = "20,000 in under 20 s" if way == "segtrail verify" else ""
        print(f"{way:<18}{value:>9.1f}{best['one by one'] / value:>8.1f}  {wanted}")


if __name__ == "__main__":
    if sys.argv[1:] == ["one by one"]:
        sys.exit(0 if one_by_one() else "not right")
    main()
