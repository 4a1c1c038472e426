"""A study's cells held to arithmetic; any violation fails the run."""

from segtrail.joblog import job
from segtrail.provenance.making import making

with job(snakemake.log[0]), making(snakemake):
    from segtrail.audit.table import write_audit
    from segtrail.layout import Layout

    write_audit(
        Layout.load(snakemake.config).run,
        snakemake.wildcards.study,
        cells=snakemake.input.cells,
        out=snakemake.output[0],
        log=snakemake.log[0],
    )
