# One page of everything: published beside reproduced.


rule report:
    input:
        [study_results(study) for study in RUN.studies],
        [f"{TREE}/data/{dataset}/{name}.csv" for dataset in RUN.datasets for name in ("subjects", "rejected")],
        [f"{TREE}/{study}/{name}.parquet" for study in RUN.studies for name in ("members", "subjects")],
        key=key_of("report"),
    output:
        report(
            f"{TREE}/report.html",
            caption="../report/page.rst",
            category="Report",
            labels={"page": "all results of the run"},
        ),
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
        caption=page_texts(RUN),
    script:
        "../scripts/report.py"
