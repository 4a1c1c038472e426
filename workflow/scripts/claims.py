"""Every claim of a study, supported or refused by our measures."""

from segtrail.joblog import job
from segtrail.provenance.making import making

with job(snakemake.log[0]), making(snakemake):
    from segtrail.layout import Layout
    from segtrail.studies.claims import write_claims

    write_claims(
        Layout.load(snakemake.config).run,
        snakemake.wildcards.study,
        measures=snakemake.input.measures,
        reliability=snakemake.input.reliability,
        errors=snakemake.input.errors,
        published=snakemake.input.published,
        out=snakemake.output[0],
    )
