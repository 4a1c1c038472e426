# One page of everything: published beside reproduced.


rule report:
    input:
        [study_results(study) for study in RUN.studies],
        [f"{TREE}/data/{dataset}/{name}.csv" for dataset in RUN.datasets for name in ("subjects", "rejected")],
        [f"{TREE}/{study}/{name}.parquet" for study in RUN.studies for name in ("members", "subjects")],
    output:
        f"{TREE}/report.html",
    log:
        f"{TREE}/logs/report.log",
    benchmark:
        f"{TREE}/benchmarks/report.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=asked("report", "mem_mb"),
        runtime=asked("report", "runtime"),
    params:
        config=config_hash(RUN.reported_by()),
        code=code_hash("studies.report"),
    script:
        "../scripts/report.py"
