"""Rows of measures of one posterior for the subjects of one chunk."""

from segtrail.joblog import job
from segtrail.provenance.making import making

with job(snakemake.log[0]), making(snakemake):
    from segtrail.layout import Layout
    from segtrail.studies.measure import measure_chunk

    layout, wildcards = Layout.load(snakemake.config), snakemake.wildcards
    study = layout.run.studies[wildcards.study]
    names = layout.posteriors(wildcards.study)[wildcards.posterior]
    measure_chunk(
        snakemake.input.posterior,
        snakemake.input.arrays,
        {name: study.predictor(wildcards.cohort, name) for name in names},
        study.cohorts[wildcards.cohort].box,
        study.measures,
        layout.run.seed,
        {"study": wildcards.study, "cohort": wildcards.cohort},
        snakemake.output,
        snakemake.input.ranges[0] if snakemake.input.ranges else None,
        layout.keeps_maps(wildcards.study, wildcards.cohort, wildcards.posterior),
    )
