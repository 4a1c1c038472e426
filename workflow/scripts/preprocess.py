"""Subjects of one chunk to arrays ready to train on."""

from segtrail.joblog import job
from segtrail.provenance.making import making

with job(snakemake.log[0]), making(snakemake):
    from segtrail.data.preprocess import prepare_many
    from segtrail.files import read_json, write_json
    from segtrail.layout import Layout

    layout, wildcards = Layout.load(snakemake.config), snakemake.wildcards
    cohort = layout.run.studies[wildcards.study].cohorts[wildcards.cohort]
    manifest = prepare_many(
        layout.scans(wildcards.study, wildcards.cohort, wildcards.chunk),
        cohort,
        snakemake.output.arrays,
        jobs=snakemake.threads,
        on_bad_subject=layout.run.on_bad_subject,
        rejected=layout.rejected(wildcards.study, wildcards.cohort, wildcards.chunk),
        population=read_json(snakemake.input.population[0]) if snakemake.input.population else None,
    )
    write_json(snakemake.output.subjects, manifest)
