# Faces, aligned and stored once; then for each seed who trains, who is tested, and on which pairs.


rule prepare_faces:
    output:
        files(FACES, ["images.npy", "index.parquet"]),
    params:
        out=subpath(output[0], parent=True),
        flags=flags({key: config["data"][key] for key in ("source", "size", "most_corrupt")}),
    threads: 1 if config["data"]["source"] == "orl" else workflow.cores
    log:
        f"logs/{PROFILE}/prepare_faces.log",
    shell:
        "{PYTHON} -m stscq.data.prepare {params.flags} --workers {threads} --out {params.out} &> {log}"


rule prepare_split:
    input:
        store=rules.prepare_faces.output,
    output:
        index=f"{DATA}/splits/seed{{seed}}/index.parquet",
        pairs=f"{DATA}/splits/seed{{seed}}/pairs.parquet",
    params:
        store=FACES,
        out=subpath(output.index, parent=True),
        flags=lambda wc: flags(
            {"seed": int(wc.seed), **{key: config["data"][key] for key in ("test_people", "val_people", "side", "folds")}}
        ),
    log:
        f"logs/{PROFILE}/prepare_split/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.data.split --store {params.store} {params.flags} --out {params.out} &> {log}"
