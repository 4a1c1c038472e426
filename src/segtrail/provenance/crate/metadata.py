"""What a crate says of its run, by the profile Provenance Run Crate 0.5: one action for each job.

Every receipt becomes an action with its inputs and outputs, so that the crate leads from each table down to
the hashes of the scans. What is not packed (scans, what is made to be thrown away, weights unless they are
asked for) is named, with its hash, and has no file.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

from ...config import read_yaml
from ...config.run import PHANTOM_MARKER
from ...errors import ConfigError
from ...files import sha256_of_file
from ...layout import Layout
from ...runs.jobs import Job, outputs
from .. import receipts
from .words import CONFIGURATION, encoding_format, marked, name_and_description, told

CONTEXT = "https://w3id.org/ro/terms/workflow-run/context"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
WORKFLOW = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
PARAMETER = "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"
DONE = "http://schema.org/CompletedActionStatus"
# The workflow's parameters: whether one goes in or comes out, and the names of its files.
PARAMETERS = {
    "configuration": ("input", (CONFIGURATION,)),
    "report": ("output", ("report.html",)),
    "cells": ("output", ("cells.csv", "unprinted.csv")),
    "claims": ("output", ("claims.csv",)),
    "audit": ("output", ("audit.csv",)),
    "measures": ("output", ("measures.parquet", "reliability.parquet", "errors.parquet")),
}
AGENT = re.compile(r"\s*(?P<name>[^<>]+?)\s*(<(?P<orcid>https://orcid\.org/[0-9X-]{19})>)?\s*")

Node = dict[str, Any]  # JSON-LD: properties, or a reference {"@id": …}


def described(
    layout: Layout,
    jobs: Mapping[str, Job],
    made: Mapping[str, Node],
    folder: Path,
    agent: str | None,
) -> ROCrate:
    """The crate of the files in `folder`: `made` is job → receipt.

    Raises ConfigError for an `agent` that is not `Name` or `Name <https://orcid.org/…>`.
    """
    return _Description(layout, jobs, made, folder, agent).crate


class _Description:
    """Fills a crate, from the files to the actions; every entity is put once."""

    def __init__(
        self,
        layout: Layout,
        jobs: Mapping[str, Job],
        made: Mapping[str, Node],
        folder: Path,
        agent: str | None,
    ) -> None:
        self.layout, self.jobs, self.made, self.folder = layout, jobs, made, folder
        self.tree = f"results/{layout.run.name}"
        files = [str(file.relative_to(folder)) for file in receipts.files_of(folder)]
        # Lists of them begin with what one looks for: the report, the tables, the studies' files.
        self.files = sorted(files, key=lambda file: (not file.startswith(self.tree), file.count("/"), file))
        self.citation = read_yaml(folder / "CITATION.cff")
        # data set/subject → path of a scan → its hash
        self.scans = {subject: files for one in made.values() for subject, files in one["scans"].items()}
        self.environments = [receipt["environment"] for receipt in made.values()]
        self.known: set[str] = set()
        self.products: dict[str, list[Node]] = {}
        self.crate = ROCrate(version="1.1", gen_preview=True)
        self.crate.metadata.extra_contexts.append(CONTEXT)
        self.agent = {} if agent is None else {"agent": self._agent(agent)}
        for path in self.files:
            self._file(path)
        for dataset in layout.run.datasets:
            self._dataset(dataset)
        actions = self._actions()
        self._workflow()
        self._root(actions)

    def _put(self, identifier: str, about: Node) -> Node:
        """A reference to an entity that is no file, which is added unless it is there."""
        if identifier not in self.known:
            self.known.add(identifier)
            self.crate.add(ContextEntity(self.crate, identifier, properties=_tidy(about)))
        return {"@id": identifier}

    # --- files ------------------------------------------------------------------------------------

    def _file(self, path: str) -> None:
        name, description = name_and_description(self.layout, path)
        about = {
            "name": name,
            "description": description,
            "contentSize": str((self.folder / path).stat().st_size),
            "sha256": sha256_of_file(self.folder / path),
            "encodingFormat": encoding_format(path),
            **self._code(path),
        }
        parameter = next((key for key, (_, names) in PARAMETERS.items() if Path(path).name in names), None)
        if parameter and (path == CONFIGURATION or path.startswith(self.tree)):
            about["exampleOfWork"] = {"@id": f"#parameter/{parameter}"}
        if path == "requirements.lock":
            others = sum(one["lock"] != about["sha256"] for one in self.environments)
            if others:
                about["description"] += f"; {others} jobs ran with another, whose hash is in their receipts"
        if path == "README.md":
            about["about"] = {"@id": "./"}
        if path == "Snakefile":
            language = ", ".join(sorted(version for name, version in self._versions if name == "snakemake"))
            self.crate.add_workflow(
                dest_path=path, properties=about, main=True, lang="snakemake", lang_version=language
            )
        else:
            self.crate.add_file(dest_path=path, properties=about)

    def _code(self, path: str) -> Node:
        """What is said of the workflow's own files, beside what is said of every file."""
        if path != "Snakefile" and not path.startswith(("workflow/rules/", "workflow/scripts/")):
            return {}
        kinds = ["File", "SoftwareSourceCode"]
        url = self.citation.get("repository-code") or self.citation.get("url")
        return {
            "@type": [*kinds, "ComputationalWorkflow", "HowTo"] if path == "Snakefile" else kinds,
            "version": self._version,
            "license": self._license,
            **({"url": url} if url else {}),
        }

    # --- data sets, and what is not packed --------------------------------------------------------

    def _dataset(self, name: str) -> None:
        dataset, run = self.layout.run.datasets[name], self.layout.run
        about: Node = {"@type": "Dataset", "name": marked(self.layout, dataset.title)}
        if run.drawn or (run.roots[name] / PHANTOM_MARKER).exists():
            text = f"Drawn, in the layout of this data set: {dataset.title}"
        else:
            text = "Not in the crate: to be had from its source, under its terms"
            about |= {"url": dataset.source, "conditionsOfAccess": dataset.terms}
        about["description"] = told(self.layout, text)
        about["hasPart"] = [self._subject(subject) for subject in self.scans if subject.split("/")[0] == name]
        self._put(f"#data/{name}", about)

    def _subject(self, subject: str) -> Node:
        dataset = subject.split("/")[0]
        files = [
            self._put(
                f"#data/{dataset}/scans/{quote(path)}",
                {"@type": "CreativeWork", "name": marked(self.layout, path), "sha256": sha256},
            )
            for path, sha256 in self.scans[subject].items()
        ]
        about = {"@type": "CreativeWork", "name": marked(self.layout, subject), "hasPart": files}
        return self._put(f"#data/{quote(subject)}", about)

    def _products(self, job: str) -> list[Node]:
        """What a job made: files of the crate, or the names of what is not packed."""
        if self.jobs[job].step == "phantom":
            return [{"@id": f"#data/{self.jobs[job].of['dataset']}"}]
        if job not in self.products:
            self.products[job] = [
                {"@id": quote(f"{self.tree}/{artifact}")}
                if (self.folder / self.tree / artifact).is_file()
                else self._not_packed(job, artifact)
                for artifact in outputs(self.layout, self.jobs[job])
            ]
        return self.products[job]

    def _not_packed(self, job: str, artifact: str) -> Node:
        entries = {
            file: entry
            for file, entry in self.made[job]["outputs"].items()
            if file == artifact or file.startswith(f"{artifact}/")
        }
        size = sum(entry["size"] for entry in entries.values())
        text = f"Not in the crate: {len(entries)} files of {size} bytes, named in the receipt of {job}"
        about = {
            "@type": "CreativeWork",
            "name": marked(self.layout, artifact),
            "description": told(self.layout, text),
        }
        if artifact in entries:
            about["sha256"] = entries[artifact]["sha256"]
        return self._put(f"#{quote(f'{self.tree}/{artifact}')}", about)

    # --- who ran it, with what --------------------------------------------------------------------

    def _agent(self, agent: str) -> Node:
        found = AGENT.fullmatch(agent)
        if found is None:
            raise ConfigError(
                f"--agent {agent!r}", expected="Name, or Name <https://orcid.org/0000-0000-0000-0000>"
            )
        return self._put(found["orcid"] or "#agent", {"@type": "Person", "name": found["name"]})

    @cached_property
    def _license(self) -> Node:
        name = self.citation["license"]
        text = "Of the software and of what it wrote; what is made from a data set is under its terms too"
        about = {"@type": "CreativeWork", "name": name, "description": text}
        return self._put(f"https://spdx.org/licenses/{name}", about)

    @cached_property
    def _version(self) -> str:
        """Of the software: its number, and the commits that the jobs ran at."""
        found = set()
        for environment in self.environments:
            changes = " with changes" if environment["changed"] else ""
            commit = f" at {environment['commit']}{changes}" if environment["commit"] else ""
            found.add(f"{environment['segtrail']}{commit}")
        return ", ".join(sorted(found))

    @cached_property
    def _versions(self) -> list[tuple[str, str]]:
        """The libraries that the jobs ran with."""
        found = set()
        for environment in self.environments:
            found |= {("python", environment["python"]), *environment["libraries"].items()}
        return sorted(found)

    def _software(self, name: str, version: str) -> Node:
        about = {"@type": "SoftwareApplication", "name": name, "softwareVersion": version}
        return self._put(f"#software/{name}-{quote(version)}", about | _home_page(name))

    def _paper(self, study: str) -> Node:
        """The paper that a study regenerates, with its authors where CITATION.cff names it."""
        content = self.layout.run.studies[study]
        about: Node = {"@type": "ScholarlyArticle", "name": content.title, "description": content.citation}
        identifier = f"#paper/{study}"
        for entry in self.citation.get("references", []):
            if entry["title"].casefold() == content.title.casefold():
                identifier = f"https://doi.org/{entry['doi']}" if "doi" in entry else entry["url"]
                about["datePublished"] = str(entry["year"])
                about["author"] = [self._author(**person) for person in entry["authors"]]
        return self._put(identifier, about)

    def _author(self, **person: str) -> Node:
        name = f"{person['given-names']} {person['family-names']}"
        return self._put(f"#author/{quote(name)}", {"@type": "Person", "name": name})

    # --- actions ----------------------------------------------------------------------------------

    def _actions(self) -> list[Node]:
        """The run and each of its jobs, as actions of the workflow and its scripts."""
        run, spans = self.layout.run, [_span(receipt) for receipt in self.made.values()]
        span = {"startTime": min(s["startTime"] for s in spans), "endTime": max(s["endTime"] for s in spans)}
        jobs = [self._job(name) for name in self.jobs]
        results = [
            product
            for name, job in self.jobs.items()
            if not {"cohort", "dataset"} & set(job.of)
            for product in self._products(name)
        ]
        read = sorted({file for one in self.made.values() for file in one["made_from"]["files"]})
        whole = self._put(
            "#run",
            {
                "@type": "CreateAction",
                "name": marked(self.layout, f"run {run.name} at scale {run.scale}"),
                "description": told(self.layout, f"All {len(jobs)} jobs of {', '.join(run.studies)}"),
                "instrument": {"@id": "Snakefile"},
                "object": [{"@id": quote(path)} for path in (CONFIGURATION, *read)]
                + [{"@id": f"#data/{name}"} for name in run.datasets],
                "result": results,
                "actionStatus": DONE,
                **span,
                **self.agent,
            },
        )
        (engine, *_) = [self._software(*one) for one in self._versions if one[0] == "snakemake"]
        self._put(
            "#snakemake",
            {
                "@type": "OrganizeAction",
                "name": "Snakemake",
                "description": f"Ran on {', '.join(sorted({one['machine'] for one in self.environments}))}",
                "instrument": engine,
                "object": [self._control(name) for name in self.jobs],
                "result": whole,
                "actionStatus": DONE,
                **span,
                **self.agent,
            },
        )
        return [whole, *jobs]

    def _job(self, name: str) -> Node:
        job, receipt = self.jobs[name], self.made[name]
        made_from = receipt["made_from"]
        seed = "" if made_from["seed"] is None else f" with seed {made_from['seed']}"
        about = {
            "@type": "CreateAction",
            "name": marked(self.layout, name),
            "description": told(
                self.layout, f"Job of the rule {receipt['rule']}{seed}, code {made_from['code']}"
            ),
            "identifier": receipt["key"],
            "instrument": {"@id": f"workflow/scripts/{job.step}.py"},
            "object": [
                *({"@id": f"#data/{quote(subject)}"} for subject in made_from["data"]),
                *({"@id": quote(file)} for file in made_from["files"]),
                *(product for before in job.after for product in self._products(before)),
            ],
            "result": self._products(name),
            "subjectOf": {"@id": quote(f"{self.tree}/receipts/{name}.json")},
            "actionStatus": DONE,
            **_span(receipt),
            **self.agent,
        }
        return self._put(f"#job/{quote(name)}", about)

    def _control(self, name: str) -> Node:
        about = {
            "@type": "ControlAction",
            "name": f"Snakemake ran {name}",
            "instrument": {"@id": f"#step/{self.jobs[name].step}"},
            "object": {"@id": f"#job/{quote(name)}"},
            "actionStatus": DONE,
        }
        return self._put(f"#control/{quote(name)}", about)

    # --- the workflow and the crate as a whole ----------------------------------------------------

    def _workflow(self) -> None:
        about: Node = {}
        steps = list(dict.fromkeys(job.step for job in self.jobs.values()))
        about["conformsTo"] = {"@id": WORKFLOW}
        about["hasPart"] = [{"@id": f"workflow/scripts/{step}.py"} for step in steps]
        about["step"] = [
            self._put(
                f"#step/{step}",
                {
                    "@type": "HowToStep",
                    "name": step,
                    "position": str(place),
                    "workExample": {"@id": f"workflow/scripts/{step}.py"},
                },
            )
            for place, step in enumerate(steps, start=1)
        ]
        about["softwareRequirements"] = [
            *(self._software(*one) for one in self._versions),
            {"@id": "requirements.lock"},
        ]
        for direction in ("input", "output"):
            about[direction] = [
                self._parameter(name) for name, (way, _) in PARAMETERS.items() if way == direction
            ]
        self.crate.update_jsonld({"@id": "Snakefile", **_tidy(about)})

    def _parameter(self, name: str) -> Node:
        about = {
            "@type": "FormalParameter",
            "name": name,
            "additionalType": "File",
            "conformsTo": {"@id": PARAMETER},
        }
        return self._put(f"#parameter/{name}", about)

    def _root(self, actions: list[Node]) -> None:
        run, about = self.layout.run, dict[str, Any]()
        studies = "; ".join(study.title for study in run.studies.values())
        about["name"] = marked(self.layout, f"segtrail, run {run.name}: {studies}")
        text = (
            f"The numbers, tables, figures and claims of {', '.join(run.studies)} at scale {run.scale}, with "
            "the workflow that regenerated them, its configuration, and what each job made from what"
        )
        about["description"] = told(self.layout, text)
        about["license"] = self._license
        if self.agent:
            about["author"] = self.agent["agent"]
        about["citation"] = [self._paper(study) for study in run.studies]
        about["mentions"] = [*actions, {"@id": "#snakemake"}]
        about["conformsTo"] = [
            self._put(url, {"@type": "CreativeWork", "name": name, "version": url.rsplit("/", 1)[1]})
            for url, name in PROFILES.items()
        ]
        self.crate.update_jsonld({"@id": "./", **_tidy(about)})


def _tidy(about: Node) -> Node:
    """Properties as the specification wants them: one value is no list, and none is no property."""
    return {
        name: value[0] if isinstance(value, list) and len(value) == 1 and name[0] != "@" else value
        for name, value in about.items()
        if value != []
    }


def _span(receipt: Node) -> Node:
    """When a job began and ended, in UTC: the profile's validator knows no time zone west of it."""
    ended = datetime.fromisoformat(receipt["finished"]).astimezone(UTC)
    began = ended - timedelta(seconds=round(receipt["seconds"]))
    return {"startTime": began.isoformat(), "endTime": ended.isoformat()}


def _home_page(name: str) -> Node:
    """Where a library says that it lives."""
    if name == "python":
        return {"url": "https://www.python.org/"}
    about = metadata.metadata(name)
    pages = [about["Home-page"], *(url.split(", ", 1)[1] for url in about.get_all("Project-URL") or [])]
    page = next(filter(None, pages), None)
    return {} if page is None else {"url": page}
