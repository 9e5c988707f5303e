# Classic codecs on the same faces: operating points by people who are tested in no seed, then the same evaluation.

PEERS = config["peers"]
PEER_POINTS = ["points.json", "candidates.parquet"]
PEER = ["metrics.json", "images.parquet", "pairs.parquet"]


rule calibrate_peer:
    input:
        store=files(FACES, STORE),
        splits=expand(rules.prepare_split.output.index, seed=SEEDS),
    output:
        files(f"{DATA}/peers/{{codec}}/calibration", [*PEER_POINTS, "calibrate.run.json"]),
    params:
        code=code("evaluation.peers.calibrate"),
        store=FACES,
        splits=f"{DATA}/splits",
        out=subpath(output[0], parent=True),
        flags=lambda wc: flags({"seeds": SEEDS, "codec": wc.codec}),
    log:
        f"logs/{PROFILE}/calibrate_peer/{{codec}}.log",
    shell:
        "{PYTHON} -m stscq.evaluation.peers.calibrate --store {params.store} --splits {params.splits} {params.flags}"
        " --out {params.out} &> {log}"


rule evaluate_peer:
    input:
        store=lambda wc: store_of(wc.set),
        original=original,
        points=files(f"{DATA}/peers/{{codec}}/calibration", PEER_POINTS),
        judge=verified(config["judge"]),
    output:
        files(f"{DATA}/peers/{{codec}}/{{set}}/seed{{seed}}", [*PEER, "peer.run.json"]),
    params:
        code=code("evaluation.peer"),
        store=folder_of("store"),
        original=folder_of("original"),
        points=folder_of("points"),
        out=subpath(output[0], parent=True),
        flags=lambda wc: flags({"judge": config["judge"], "codec": wc.codec}),
    log:
        f"logs/{PROFILE}/evaluate_peer/{{codec}}/{{set}}/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.evaluation.peer --store {params.store} --original {params.original}"
        " {params.flags} --points {params.points} --out {params.out} &> {log}"


def peer_outputs():
    """Every evaluation of every classic codec, and what its operating points were chosen by."""
    return [
        *expand(rules.calibrate_peer.output, codec=PEERS),
        *expand(rules.evaluate_peer.output, codec=PEERS, set=config["evaluate_on"], seed=SEEDS),
    ]
