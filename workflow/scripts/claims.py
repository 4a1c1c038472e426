"""Every claim of a study, supported or refused by our measures."""

from segtrail.joblog import job

with job(snakemake.log[0]):
    from segtrail.layout import Layout
    from segtrail.studies.claims import write_claims

    run = Layout.load(snakemake.config).run
    write_claims(run, snakemake.wildcards.study, **dict(snakemake.input.items()), out=snakemake.output[0])
