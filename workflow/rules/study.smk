# Rows to cells, claims, tables and figures.


rule collect:
    input:
        measures=lambda wildcards: chunks_of(wildcards.study, "{kept}/measures/{posterior}/{chunk}.parquet"),
        reliability=lambda wildcards: chunks_of(
            wildcards.study, "{kept}/reliability/{posterior}/{chunk}.parquet"
        ),
        errors=lambda wildcards: chunks_of(wildcards.study, "{kept}/errors/{posterior}/{chunk}.parquet"),
        members=lambda wildcards: members_of(wildcards.study),
        subjects=lambda wildcards: [
            f"{TREE}/{wildcards.study}/{cohort}/subjects/{chunk}.json"
            for cohort in RUN.studies[wildcards.study].cohorts
            for chunk in LAYOUT.chunks(wildcards.study, cohort)
        ],
        key=key_of("collect"),
    output:
        measures=f"{TREE}/{{study}}/measures.parquet",
        reliability=f"{TREE}/{{study}}/reliability.parquet",
        errors=f"{TREE}/{{study}}/errors.parquet",
        members=f"{TREE}/{{study}}/members.parquet",
        subjects=f"{TREE}/{{study}}/subjects.parquet",
    log:
        f"{TREE}/logs/{{study}}/collect.log",
    benchmark:
        f"{TREE}/benchmarks/{{study}}/collect.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=asked("collect", "mem_mb"),
        runtime=asked("collect", "runtime"),
    script:
        "../scripts/collect.py"


rule cells:
    input:
        measures=f"{TREE}/{{study}}/measures.parquet",
        reliability=f"{TREE}/{{study}}/reliability.parquet",
        errors=f"{TREE}/{{study}}/errors.parquet",
        members=f"{TREE}/{{study}}/members.parquet",
        subjects=f"{TREE}/{{study}}/subjects.parquet",
        published="config/published/{study}.csv",
        key=key_of("cells"),
    output:
        cells=report(
            f"{TREE}/{{study}}/cells.csv",
            caption="../report/cells.rst",
            category="Cells, claims, audit",
            subcategory="{study}",
            labels={"data": "cells", "format": "CSV"},
        ),
        # Numbers of tables that the paper has and whose own numbers are not known.
        unprinted=f"{TREE}/{{study}}/unprinted.csv",
        # for `dvc metrics`
        metrics=f"{TREE}/{{study}}/metrics.json",
    log:
        f"{TREE}/logs/{{study}}/cells.log",
    benchmark:
        f"{TREE}/benchmarks/{{study}}/cells.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=asked("cells", "mem_mb"),
        runtime=asked("cells", "runtime"),
    params:
        caption=lambda wildcards: study_texts(RUN, wildcards.study),
    script:
        "../scripts/cells.py"


# A violation fails the run: nobody may use numbers that no measures can give.
rule audit:
    input:
        cells=f"{TREE}/{{study}}/cells.csv",
        key=key_of("audit"),
    output:
        report(
            f"{TREE}/{{study}}/audit.csv",
            caption="../report/audit.rst",
            category="Cells, claims, audit",
            subcategory="{study}",
            labels={"data": "audit", "format": "CSV"},
        ),
    log:
        f"{TREE}/logs/{{study}}/audit.log",
    benchmark:
        f"{TREE}/benchmarks/{{study}}/audit.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        caption=lambda wildcards: study_texts(RUN, wildcards.study),
    script:
        "../scripts/audit.py"


rule claims:
    input:
        measures=f"{TREE}/{{study}}/measures.parquet",
        reliability=f"{TREE}/{{study}}/reliability.parquet",
        errors=f"{TREE}/{{study}}/errors.parquet",
        published="config/published/{study}.csv",
        key=key_of("claims"),
    output:
        report(
            f"{TREE}/{{study}}/claims.csv",
            caption="../report/claims.rst",
            category="Cells, claims, audit",
            subcategory="{study}",
            labels={"data": "claims", "format": "CSV"},
        ),
    log:
        f"{TREE}/logs/{{study}}/claims.log",
    benchmark:
        f"{TREE}/benchmarks/{{study}}/claims.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=asked("claims", "mem_mb"),
        runtime=asked("claims", "runtime"),
    params:
        caption=lambda wildcards: study_texts(RUN, wildcards.study),
    script:
        "../scripts/claims.py"


for study, content in RUN.studies.items():

    rule:
        name:
            f"tables_{study}"
        input:
            cells=f"{TREE}/{study}/cells.csv",
            unprinted=f"{TREE}/{study}/unprinted.csv",
            key=key_of("tables", study=study),
        output:
            [
                report(
                    f"{TREE}/{study}/tables/{table.slug}.html",
                    caption="../report/tables.rst",
                    category="Tables",
                    subcategory=study,
                    labels={"table": table.name, "title": table.title},
                )
                for table in content.tables
            ],
            [
                f"{TREE}/{study}/tables/{table.slug}.{suffix}"
                for table in content.tables
                for suffix in TABLE_FORMATS
                if suffix != "html"
            ],
        log:
            f"{TREE}/logs/{study}/tables.log",
        benchmark:
            f"{TREE}/benchmarks/{study}/tables.tsv"
        localrule: True
        conda:
            "../../environment.yml"
        params:
            study=study,
            caption=study_texts(RUN, study),
        script:
            "../scripts/tables.py"


rule figure:
    input:
        measures=f"{TREE}/{{study}}/measures.parquet",
        reliability=f"{TREE}/{{study}}/reliability.parquet",
        errors=f"{TREE}/{{study}}/errors.parquet",
        # Of the cohorts alone whose scans it shows: curves are drawn anew without any array or map.
        maps=lambda wildcards: [
            f"{SCRATCH}/{wildcards.study}/{cohort}/maps/{posterior}/{chunk}"
            for cohort, posteriors in LAYOUT.shown(wildcards.study, wildcards.figure).items()
            for posterior in posteriors
            for chunk in LAYOUT.measured_chunks(wildcards.study, cohort)
        ],
        arrays=lambda wildcards: [
            f"{SCRATCH}/{wildcards.study}/{cohort}/arrays/{chunk}"
            for cohort in LAYOUT.shown(wildcards.study, wildcards.figure)
            for chunk in LAYOUT.measured_chunks(wildcards.study, cohort)
        ],
        key=key_of("figure"),
    output:
        svg=report(
            f"{TREE}/{{study}}/figures/{{figure}}.svg",
            caption="../report/figure.rst",
            category="Figures",
            subcategory="{study}",
            labels=lambda wildcards: {
                "figure": RUN.studies[wildcards.study].figures[wildcards.figure].title
            },
        ),
        png=f"{TREE}/{{study}}/figures/{{figure}}.png",
    log:
        f"{TREE}/logs/{{study}}/{{figure}}.log",
    benchmark:
        f"{TREE}/benchmarks/{{study}}/{{figure}}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=asked("figure", "mem_mb"),
        runtime=asked("figure", "runtime"),
    params:
        caption=lambda wildcards: figure_texts(RUN, wildcards.study, wildcards.figure),
    script:
        "../scripts/figure.py"
