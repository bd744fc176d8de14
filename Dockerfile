# The pipeline in a container.
#   docker build -t spikevaediff .                        processor
#   docker build -t spikevaediff --build-arg TORCH=cuda . GPU: PyTorch with its CUDA libraries; run with --gpus all
#   docker run --rm -v "$PWD/results:/work" spikevaediff  writes a project with results into results/
#
# The base is named by its exact tag and not by a digest, which belongs to one registry's copy. Pin the one of yours:
# --build-arg BASE=python:3.12.12-slim-bookworm@sha256:...
ARG BASE=python:3.12.12-slim-bookworm
FROM ${BASE}

# cpu: the build of PyTorch without CUDA, from the index that PyTorch names for it: --build-arg INDEX=...
ARG TORCH=cpu
ARG INDEX=""

# Git for DVC; make and a compiler are not needed, since every dependency has a wheel. No version is named: Debian keeps only
# the newest of a release.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/spikevaediff
# What changes seldom comes first, so that an edit of the code does not install PyTorch again.
COPY constraints.txt ./
RUN case "$TORCH" in cpu|cuda) ;; *) echo "TORCH is $TORCH, expected cpu or cuda" >&2; exit 1 ;; esac \
    && version="$(sed -n 's/^torch==//p' constraints.txt)" \
    && if [ "$TORCH" = cpu ] && [ -n "$INDEX" ]; then version="$version+cpu"; fi \
    && pip install --no-cache-dir ${INDEX:+--extra-index-url "$INDEX"} --constraint constraints.txt "torch==$version"
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE CITATION.cff ./
COPY dvc.yaml params.yaml runs.yaml sweeps.yaml data.dvc .dvcignore .gitattributes .gitignore ./
COPY .dvc/config .dvc/.gitignore ./.dvc/
COPY src ./src
COPY vendor ./vendor
COPY stages ./stages
RUN pip install --no-cache-dir --constraint constraints.txt .

# Not as root; fetched photographs and weights in a folder that can be mounted.
RUN useradd --create-home --uid 1000 lab && mkdir -p /work /cache && chown lab /work /cache
USER 1000
ENV SPIKEVAEDIFF_CACHE=/cache
WORKDIR /work
RUN git config --global user.name lab && git config --global user.email lab@localhost
CMD ["sh", "-c", "[ -e dvc.yaml ] || spikevaediff init . ; exec dvc repro"]
