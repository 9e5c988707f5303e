# Tables and figures: they only read what the evaluations and the training logs wrote.

OWN_SETS = {name: b["evaluate_on"] for name, b in BACKBONES.items() if "evaluate_on" in b}
TABLES = [
    *("headline", "main", "variants", "seeds", "selection_at_inference", "selection_in_training", "image_quality"),
    *(("per_dataset_accuracy", "per_dataset_ids") if len(config["evaluate_on"]) > 1 else ()),
    *(("fairness",) if config["fairness_on"] else ()),
    *(("imagenet",) if OWN_SETS else ()),
]
FIGURES = [
    *("rate_accuracy", "rate_ids", "training_curves"),
    *(f"reconstructions_{name}" for name in BACKBONES if name not in OWN_SETS),
]
REPORT_FLAGS = {
    "seeds": SEEDS,
    "sets": {"faces": config["evaluate_on"], "fairness": config["fairness_on"], **OWN_SETS},
    "variants": {name: b["variants"] for name, b in BACKBONES.items()},
}


def evaluated(rule_output):
    """Every evaluation of every seed."""
    return [
        path
        for name, variant in EVALUATIONS
        for path in expand(
            rule_output, backbone=name, variant=variant, set=stscq_params.tested_on(config, name), seed=SEEDS
        )
    ]


def training_logs():
    folders = [f"{name}/{'stage1' if v == 'stage1' else f'{stage}/{v}'}"
               for name, v in EVALUATIONS
               for stage in ("stage2", "stage3")]
    return sorted({f"{MODELS}/{folder}/seed{seed}/log.jsonl" for folder in folders for seed in SEEDS})


rule tables:
    input:
        original=expand(rules.evaluate_original.output, set=FACE_SETS, seed=SEEDS),
        evaluations=evaluated(rules.evaluate.output),
    output:
        [f"{RESULTS}/tables/{name}.{kind}" for name in TABLES for kind in ("csv", "md")],
    params:
        evaluation=f"{DATA}/evaluation",
        out=subpath(output[0], parent=True),
        flags=flags({"profile": PROFILE, **REPORT_FLAGS}),
    log:
        f"logs/{PROFILE}/tables.log",
    shell:
        "{PYTHON} -m stscq.report.tables --evaluation {params.evaluation} {params.flags} --out {params.out} &> {log}"


rule figures:
    input:
        store=store_of(config["evaluate_on"][0]),
        original=expand(rules.evaluate_original.output, set=FACE_SETS, seed=SEEDS),
        evaluations=evaluated(rules.evaluate.output),
        logs=training_logs(),
    output:
        [f"{RESULTS}/figures/{name}.png" for name in FIGURES],
    params:
        evaluation=f"{DATA}/evaluation",
        models=MODELS,
        store=folder_of("store"),
        out=subpath(output[0], parent=True),
        flags=flags(REPORT_FLAGS),
    log:
        f"logs/{PROFILE}/figures.log",
    shell:
        "{PYTHON} -m stscq.report.figures --evaluation {params.evaluation} --models {params.models}"
        " --store {params.store} {params.flags} --out {params.out} &> {log}"


rule cost_table:
    output:
        files(f"{RESULTS}/tables", ["cost.csv", "cost.md"]),
    params:
        out=subpath(output[0], parent=True),
        flags=flags(
            {
                "models": {name: backbone["model"] for name, backbone in PUBLISHED["backbones"].items()},
                "image_size": PUBLISHED["data"]["size"],
                "rank": PUBLISHED["stage2"]["rank"],
            }
        ),
    log:
        f"logs/{PROFILE}/cost_table.log",
    shell:
        "{PYTHON} -m stscq.report.cost {params.flags} --out {params.out} &> {log}"


def every_output():
    """What `all` makes: data, models and results, so that a missing model is noticed as well as a missing table."""
    per_seed = [*rules.prepare_split.output, *RECOGNISER]
    trained_files = [
        path
        for backbone, variant in EVALUATIONS
        for rule in ([rules.stage1] if variant == "stage1" else [rules.stage2, rules.stage3])
        for path in expand(rule.output, backbone=backbone, variant=variant, seed=SEEDS)
    ]
    return [
        *rules.prepare_faces.output,
        *expand(rules.prepare_set.output, set=SETS),
        *expand(per_seed, seed=SEEDS),
        *expand(rules.evaluate_original.output, set=FACE_SETS, seed=SEEDS),
        *trained_files,
        *evaluated(rules.evaluate.output),
        *rules.tables.output,
        *rules.cost_table.output,
        *rules.figures.output,
    ]
