"""`split.parts`: counted parts of named sites and data sets."""

from ...config import PART_NAMES, Split
from ...config.cohort import PartRule
from ...errors import ConfigError
from .patients import Patient, ranked
from .proportions import deal


def by_parts(patients: list[Patient], datasets: list[str], rule: Split) -> dict[str, list[Patient]]:
    rules = {str(part): wanted for part, wanted in (rule.parts or {}).items()}
    order = [part for part in PART_NAMES if part in rules]
    order.sort(key=lambda part: (rules[part].size == "all", rules[part].site is None))
    # Parts that draw from one pool are drawn together, so that each is proportional to the whole pool.
    pools: dict[tuple[bool, str, tuple[str, ...] | None], list[str]] = {}
    for part in order:
        wanted = rules[part]
        sites = None if wanted.site is None else tuple(sorted(wanted.site))
        pools.setdefault((wanted.size == "all", _dataset(part, wanted, datasets), sites), []).append(part)
    free = ranked(patients, rule.seed)
    chosen: dict[str, list[Patient]] = {}
    for (_, dataset, sites), names in pools.items():
        pool = [p for p in free if p.dataset == dataset and (sites is None or set(p.sites) <= set(sites))]
        sizes = {name: _size(rules[name], len(pool)) for name in names}
        if sum(sizes.values()) > len(pool):
            raise _too_few(sizes, pool, patients, dataset, sites)
        chosen |= deal(pool, sizes, rule.stratify)
        taken = {(p.dataset, p.id) for name in names for p in chosen[name]}
        free = [p for p in free if (p.dataset, p.id) not in taken]
    return {part: ranked(found, rule.seed) for part, found in chosen.items()}  # not stratum by stratum


def _dataset(part: str, wanted: PartRule, datasets: list[str]) -> str:
    if wanted.dataset is None and len(datasets) == 1:
        return datasets[0]
    if wanted.dataset not in datasets:
        raise ConfigError(
            f"split.parts.{part}.dataset = {wanted.dataset!r}",
            expected=f"one of the cohort's data sets: {', '.join(datasets)}",
        )
    return wanted.dataset


def _size(wanted: PartRule, available: int) -> int:
    # An empty part is an error, so 'all' of nothing asks for one patient.
    return max(1, available) if wanted.size == "all" else wanted.size


def _too_few(
    sizes: dict[str, int],
    pool: list[Patient],
    patients: list[Patient],
    dataset: str,
    sites: tuple[str, ...] | None,
) -> ConfigError:
    there: dict[str, int] = {}
    for patient in patients:
        if patient.dataset == dataset:
            name = patient.stratum("site") or "(no site)"
            there[name] = there.get(name, 0) + 1
    where = dataset if sites is None else f"{dataset}, site {' or '.join(sites)}"
    return ConfigError(
        f"split.parts: {' + '.join(f'{name} {size}' for name, size in sizes.items())} patients of {where}",
        expected=f"at most the {len(pool)} that are available and not in another part; the cohort selects "
        f"{', '.join(f'{count} of {name}' for name, count in sorted(there.items())) or 'none'}",
        remedy="lower the sizes, or set data to a root that holds more patients",
    )
