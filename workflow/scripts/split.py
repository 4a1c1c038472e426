"""Writes down which subject is in which part of a cohort."""

from segtrail.joblog import job
from segtrail.provenance.making import making

with job(snakemake.log[0]), making(snakemake):
    from segtrail.files import write_json
    from segtrail.layout import Layout

    layout = Layout.load(snakemake.config)
    write_json(snakemake.output[0], layout.split(snakemake.wildcards.study, snakemake.wildcards.cohort))
