#!/usr/bin/env python3
"""Snakemake's job script as a Job of Kubernetes; prints its name.

STSCQ_IMAGE: the image (Dockerfile). STSCQ_CLAIM: the claim of a volume that many nodes may write. STSCQ_VOLUME: where
it is mounted, here and in the pods; the project lies below.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path


def manifest(asked: argparse.Namespace, image: str, claim: str, volume: str) -> dict[str, object]:
    """One pod, tried once: trying again is Snakemake's, which then asks for more."""
    limits = {"memory": f"{asked.mem_mb}M"} | ({"nvidia.com/gpu": str(asked.gpus)} if asked.gpus else {})
    container = {
        "name": "job",
        "image": image,
        "command": ["sh", asked.script],
        "workingDir": str(Path.cwd()),
        "resources": {"requests": {"cpu": str(asked.cpus), **limits}, "limits": limits},
        "volumeMounts": [{"name": "project", "mountPath": volume}],
    }
    pod = {
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [{"name": "project", "persistentVolumeClaim": {"claimName": claim}}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"generateName": "stscq-"},
        "spec": {"backoffLimit": 0, "activeDeadlineSeconds": 60 * asked.minutes, "template": {"spec": pod}},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--cpus", "--mem-mb", "--minutes", "--gpus"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("script")
    asked = parser.parse_args()
    names = ("STSCQ_IMAGE", "STSCQ_CLAIM", "STSCQ_VOLUME")
    if missing := [name for name in names if not os.environ.get(name)]:
        print(f"set {', '.join(missing)} (docs/cluster.md)", file=sys.stderr)
        return 2
    job = json.dumps(manifest(asked, *(os.environ[name] for name in names)))
    create = ["kubectl", "create", "-f", "-", "-o", "jsonpath={.metadata.name}"]
    return subprocess.run(create, input=job, text=True, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
