# Rows to cells, claims, tables and figures.


rule collect:
    input:
        measures=lambda wildcards: chunks_of(wildcards.study, "{folder}/measures/{posterior}/{chunk}.parquet"),
        reliability=lambda wildcards: chunks_of(
            wildcards.study, "{folder}/reliability/{posterior}/{chunk}.parquet"
        ),
        members=lambda wildcards: members_of(wildcards.study),
        splits=lambda wildcards: [
            f"{TREE}/{wildcards.study}/{cohort}/split.json"
            for cohort in RUN.studies[wildcards.study].cohorts
        ],
        arrays=lambda wildcards: [
            f"{TREE}/{wildcards.study}/{cohort}/arrays/{chunk}"
            for cohort in RUN.studies[wildcards.study].cohorts
            for chunk in LAYOUT.chunks(wildcards.study, cohort)
        ],
    output:
        measures=f"{TREE}/{{study}}/measures.parquet",
        reliability=f"{TREE}/{{study}}/reliability.parquet",
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
    params:
        code=code_hash("studies.collect"),
    script:
        "../scripts/collect.py"


rule cells:
    input:
        measures=f"{TREE}/{{study}}/measures.parquet",
        members=f"{TREE}/{{study}}/members.parquet",
        subjects=f"{TREE}/{{study}}/subjects.parquet",
        published="config/published/{study}.csv",
    output:
        f"{TREE}/{{study}}/cells.csv",
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
        config=lambda wildcards: results_hash(wildcards.study, "tables"),
        seed=RUN.seed,
        code=code_hash("studies.cells"),
    script:
        "../scripts/cells.py"


rule claims:
    input:
        measures=f"{TREE}/{{study}}/measures.parquet",
        published="config/published/{study}.csv",
    output:
        f"{TREE}/{{study}}/claims.csv",
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
        config=lambda wildcards: results_hash(wildcards.study, "tables", "claims"),
        seed=RUN.seed,
        code=code_hash("studies.claims"),
    script:
        "../scripts/claims.py"


for study, content in RUN.studies.items():

    rule:
        name:
            f"tables_{study}"
        input:
            cells=f"{TREE}/{study}/cells.csv",
        output:
            [
                f"{TREE}/{study}/tables/{table.slug}.{suffix}"
                for table in content.tables
                for suffix in ("csv", "md", "tex")
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
            config=results_hash(study, "tables"),
            code=code_hash("studies.tables"),
        script:
            "../scripts/tables.py"


rule figure:
    input:
        measures=f"{TREE}/{{study}}/measures.parquet",
        reliability=f"{TREE}/{{study}}/reliability.parquet",
        maps=lambda wildcards: chunks_of(wildcards.study, "{folder}/maps/{posterior}/{chunk}"),
        arrays=lambda wildcards: [
            f"{TREE}/{wildcards.study}/{cohort}/arrays/{chunk}"
            for cohort in RUN.studies[wildcards.study].cohorts
            for chunk in LAYOUT.test_chunks(wildcards.study, cohort)
        ],
    output:
        svg=report(
            f"{TREE}/{{study}}/figures/{{figure}}.svg",
            category="Figures",
            subcategory="{study}",
            labels={"figure": "{figure}"},
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
        config=lambda wildcards: [
            results_hash(wildcards.study),
            config_hash(RUN.studies[wildcards.study].figures[wildcards.figure]),
        ],
        code=code_hash("studies.figures"),
    script:
        "../scripts/figure.py"
