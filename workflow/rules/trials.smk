# What the paper's reviewers asked: quantisers fitted on the latents kept of one tokenizer (docs/reviewers.md).

TRIALS = {**config["trials"], "seeds": SEEDS[:1]}
QUESTIONS = ["quantisers", "router_losses", "entries"]


rule answer:
    input:
        store=training_store,
        split=training_index,
        original=lambda wc: files(f"{DATA}/evaluation/original/{config['evaluate_on'][0]}/seed{wc.seed}", ORIGINAL),
        tested=store_of(config["evaluate_on"][0]),
        start=lambda wc: checkpoint(starting_tokenizer(wc)),
        latents=kept_latents,
        judge=verified(config["judge"]),
    output:
        files(
            f"{DATA}/trials/{{question}}/{{backbone}}/seed{{seed}}",
            ["metrics.json", "images.parquet", "pairs.parquet", "curve.parquet", "answer.run.json"],
        ),
    params:
        code=code("evaluation.trials.answer"),
        store=folder_of("store"),
        original=folder_of("original"),
        tested=folder_of("tested"),
        start=folder_of("start"),
        out=subpath(output[0], parent=True),
        flags=lambda wc: flags(
            {
                "judge": config["judge"],
                "groups": TRIALS["groups"],
                "entries": TRIALS["entries"],
                "seed": int(wc.seed),
                **{
                    stage: stscq_params.stage_settings(config, wc.backbone, stage)
                    for stage in ("stage1_codebooks", "stage2")
                },
            }
        ),
    wildcard_constraints:
        question="|".join(QUESTIONS),
    threads: threads_of("answer")
    resources:
        **resources_of("answer"),
    log:
        f"logs/{PROFILE}/answer/{{question}}/{{backbone}}/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.evaluation.trials.answer --question {wildcards.question} --store {params.store}"
        " --split {input.split} --original {params.original} --tested-store {params.tested} --start {params.start}"
        " --latents {input.latents} {params.flags} --out {params.out} &> {log}"


def trial_outputs():
    return expand(rules.answer.output, question=QUESTIONS, backbone=TRIALS["backbones"], seed=TRIALS["seeds"])
