"""What the audit finds: how often each rule holds, and every violation with the cells it is about."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...audit.findings import HOLDS, NOT_APPLICABLE, VIOLATED, Finding
from . import text
from .numbers import Place


@dataclass(frozen=True)
class Violations:
    """Findings of one rule that one repair mends; the worst first."""

    anchor: str
    rule: str
    repair: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Audit:
    rules: tuple[tuple[str, int, int], ...]
    """(rule, holds, violated) of those that found something to look at"""
    idle: tuple[tuple[str, str], ...]
    """(rule, why it found nothing)"""
    violations: tuple[Violations, ...]

    @property
    def held(self) -> int:
        return sum(holds for _, holds, _ in self.rules)

    @property
    def violated(self) -> int:
        return sum(violated for _, _, violated in self.rules)

    @property
    def marks(self) -> dict[Place, str]:
        """cell → id of the first violation that it is part of."""
        found: dict[Place, str] = {}
        for group in self.violations:
            for place in (place for finding in group.findings for place in finding.places):
                found.setdefault(place, group.anchor)
        return found


def of(findings: Sequence[Finding], anchor: str) -> Audit:
    """The findings on one paper; `anchor` begins the ids of its violations."""
    states: dict[str, list[str]] = {}
    for finding in findings:
        if finding.status != NOT_APPLICABLE:
            states.setdefault(finding.rule, []).append(finding.status)
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        if finding.status == VIOLATED:
            groups.setdefault((finding.rule, finding.repair), []).append(finding)
    return Audit(
        rules=tuple((rule, found.count(HOLDS), found.count(VIOLATED)) for rule, found in states.items()),
        idle=tuple(
            dict.fromkeys(
                (one.rule, one.sentence)
                for one in findings
                if one.status == NOT_APPLICABLE and not one.places and one.rule not in states
            )
        ),
        violations=tuple(
            Violations(
                f"{anchor}-{index}", rule, repair, tuple(sorted(found, key=lambda finding: finding.margin))
            )
            for index, ((rule, repair), found) in enumerate(groups.items(), start=1)
        ),
    )


def places(finding: Finding) -> list[tuple[str, list[Place]]]:
    """The cells of a finding by table and row: (`Table II, Heart (L_CE)`, its cells)."""
    rows: dict[tuple[str, str], list[Place]] = {}
    for place in dict.fromkeys(finding.places):
        rows.setdefault(place[:2], []).append(place)
    return [(", ".join(row), found) for row, found in rows.items()]


def margin(finding: Finding) -> str:
    return text.significant(finding.margin)
