"""The page that shows published beside reproduced."""

from segtrail.joblog import job
from segtrail.runs.making import making

with job(snakemake.log[0]), making(snakemake):
    from segtrail.layout import Layout
    from segtrail.studies.report import write_report

    layout = Layout.load(snakemake.config)
    write_report(layout.run, layout.results, snakemake.output[0])
