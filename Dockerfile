# For nodes with a GPU: the project's locked environment in /opt/stscq/.venv. docs/cluster.md
#
#   docker build -t stscq .                       CUDA 13; --build-arg TORCH=cuda12 for older drivers, cpu for none
#   docker run --gpus all -v "$PWD:$PWD" -w "$PWD" stscq snakemake --cores all all
FROM python:3.11.11-slim-bookworm@sha256:081075da77b2b55c23c088251026fb69a7b2bf92471e491ff5fd75c192fd38e5
RUN apt-get update && apt-get install -y --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/stscq
COPY LICENSE Makefile README.md pyproject.toml ./
COPY requirements requirements
COPY stscq stscq
ARG TORCH=cuda
RUN make environment TORCH="$TORCH" \
    && .venv/bin/pip install --no-build-isolation --no-cache-dir --editable ".[cluster,s3]" \
    && rm -rf /root/.cache
ENV PATH=/opt/stscq/.venv/bin:$PATH
