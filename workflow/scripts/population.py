"""Mean and deviation of the training part's voxels, for a z-score over the population."""

from segtrail.joblog import job
from segtrail.provenance.making import making

with job(snakemake.log[0]), making(snakemake):
    from segtrail.data.preprocess import population_statistics
    from segtrail.files import write_json
    from segtrail.layout import Layout

    layout, wildcards = Layout.load(snakemake.config), snakemake.wildcards
    rejected = layout.rejected(wildcards.study, wildcards.cohort, "train")
    items = layout.scans(wildcards.study, wildcards.cohort, "train")
    usable = [item for item in items if (item.dataset, item.subject.id) not in rejected]
    cohort = layout.run.studies[wildcards.study].cohorts[wildcards.cohort]
    statistics = population_statistics(
        usable, cohort, jobs=snakemake.threads, on_bad_subject=layout.run.on_bad_subject
    )
    write_json(snakemake.output[0], statistics)
