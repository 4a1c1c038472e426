"""The page that shows published beside reproduced."""

from segtrail.joblog import job
from segtrail.provenance.making import making

with job(snakemake.log[0]), making(snakemake):
    from pathlib import Path

    from segtrail.layout import Layout
    from segtrail.studies.report import write_report
    from segtrail.trail import Trails

    layout = Layout.load(snakemake.config)
    write_report(layout, Trails(layout.tree), Path("config"), Path(snakemake.output[0]))
