"""The smallest and largest uncertainty of a posterior over all subjects of a part."""

from segtrail.joblog import job
from segtrail.provenance.making import making

with job(snakemake.log[0]), making(snakemake):
    from segtrail.files import write_json
    from segtrail.posterior.ranges import uncertainty_range

    write_json(snakemake.output[0], uncertainty_range(snakemake.input.posteriors))
