"""Validates RO-Crates without network: `validator.py SEVERITY CRATE...` prints the issues of each, as JSON.

Run by the Python of the validator's own environment, which has roc-validator (`make test` installs it).
What it would fetch, the JSON-LD contexts, is put into its cache beforehand: the library rocrate of that time
has the one of RO-Crate 1.1; the one of workflow runs calls each term by its own name.
"""

import importlib.util
import json
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from requests.adapters import HTTPAdapter
from requests_cache import CachedSession
from rocrate_validator import services
from urllib3 import HTTPResponse

PROFILE = "provenance-run-crate"
TERMS = "https://w3id.org/ro/terms/workflow-run"
NAMES = (
    *("ParameterConnection", "ContainerImage", "DockerImage", "SIFImage", "connection", "sourceParameter"),
    *("targetParameter", "md5", "sha1", "sha256", "sha512", "environment", "registry", "tag"),
    *("containerImage", "resourceUsage"),
)


def contexts() -> dict[str, dict]:
    package = Path(importlib.util.find_spec("rocrate").origin).parent
    crate = json.loads((package / "data" / "ro-crate.jsonld").read_text(encoding="utf-8"))
    return {
        crate["@id"]: crate,
        f"{TERMS}/context": {"@context": {name: f"{TERMS}#{name}" for name in NAMES}},
    }


class Contexts(HTTPAdapter):
    """Answers in place of the network."""

    def send(self, request, **_):
        answer = HTTPResponse(
            body=BytesIO(json.dumps(contexts()[request.url]).encode()),
            headers={"Content-Type": "application/ld+json"},
            status=200,
            preload_content=False,
            request_url=request.url,
        )
        return self.build_response(request, answer)


def fill(cache: Path) -> None:
    with CachedSession(cache_name=str(cache), backend="sqlite") as session:
        session.mount("https://", Contexts())
        for url in contexts():
            session.get(url)


def issues(crate: str, severity: str, cache: Path) -> list[dict[str, str]]:
    settings = services.ValidationSettings(
        rocrate_uri=crate,
        profile_identifier=PROFILE,
        requirement_severity=severity,
        offline=True,
        cache_path=cache,
        skip_availability_check=True,
    )
    return [
        {
            "severity": issue.severity.name,
            "message": issue.message,
            "entity": str(issue.violatingEntity),
        }
        for issue in services.validate(settings).get_issues()
    ]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "contexts"
        fill(cache)
        print(json.dumps([issues(crate, sys.argv[1], cache) for crate in sys.argv[2:]]))
