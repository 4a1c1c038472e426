# segtrail: from the scans to every table cell, figure and claim of the studies in config/config.yaml.
#
#   snakemake --cores all                 everything there is, at the scale of config/config.yaml
#   snakemake --cores all mehrtash2020    one study
#   snakemake --cores all results/demo/mehrtash2020/figures/figure_2.svg
#   snakemake --profile slurm all         on a SLURM cluster (docs/cluster.md)
#   snakemake --report report.zip         what is there, with captions, rules and times

from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/sample.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/study.smk"
include: "workflow/rules/report.smk"


onstart:
    take_tree()


rule all:
    default_target: True
    input:
        f"{TREE}/report.html",
        [study_results(study) for study in RUN.studies],


for study in RUN.studies:

    rule:
        name:
            study
        input:
            study_results(study),

    rule:
        name:
            f"{study}_figures"
        input:
            figures_of(study),
