"""One table of all measures of a study, and what they come from: members and subjects."""

from segtrail.joblog import job
from segtrail.provenance.making import making

with job(snakemake.log[0]), making(snakemake):
    from segtrail.studies.collect import collect_members, collect_subjects, concatenate

    for name in ("measures", "reliability", "errors"):
        concatenate(snakemake.input[name], snakemake.output[name])
    collect_members(snakemake.input.members, snakemake.output.members)
    collect_subjects(snakemake.input.subjects, snakemake.output.subjects)
