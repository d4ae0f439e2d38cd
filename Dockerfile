# Everything that runs SCN: the pipeline of `make run`, a Prefect server or worker, a node of a Ray cluster (deploy/).
#   make image                      builds it from the commit that is checked out
#   docker run -v scn-state:/app/.scn -v scn-cache:/app/.dvc/cache scn
# S3: add -e AWS_ENDPOINT_URL -e AWS_ACCESS_KEY_ID -e AWS_SECRET_ACCESS_KEY and set storage.url in params.yaml.

ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE} AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3-venv python3-dev make gcc libc6-dev libjpeg62-turbo-dev liblcms2-dev \
    libtiff-dev libwebp-dev zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY pyproject.toml constraints.txt Makefile ./
# The environment without the project, which changes more often. No bytecode: half of it would be of modules that nobody
# imports. Settings of pip (another index, PyTorch without CUDA): --secret id=pip,src=FILE, which no layer keeps.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
extras = project["optional-dependencies"]; \
print(*project["dependencies"], *extras["pipeline"], *extras["cluster"], sep="\n")' > /tmp/requirements.txt \
 && make setup PACKAGES='--no-compile --no-cache-dir -r /tmp/requirements.txt' \
 && { test -e .venv/simd || { tail -n 20 .venv/simd.log; exit 1; }; }
# What is only there to test, to build or to debug the packages, and Arrow Flight; then the bytecode of what the commands
# import. Names of functions go too (a seventh of the environment), but not from libraries that auditwheel has changed, which
# `strip` has broken before.
RUN cd .venv/lib/python3*/site-packages \
 && find . -mindepth 2 -depth -type d -name tests -exec rm -r {} + \
 && rm -rf torch/test torch/bin/*test* torch/bin/protoc* ray/jars pyarrow/*flight* pyarrow/include ../../../wheels \
 && find . -name '*.js.map' -delete \
 && find . -name '*.libs' -prune -o -type f \( -name '*.so' -o -name '*.so.*' -o -name gcs_server -o -name raylet \) \
    -exec strip --strip-unneeded {} + \
 && /app/.venv/bin/python -c 'import boto3, cv2, dvc.cli, dvc.repo, dvc_s3, prefect.cli.server, prefect.cli.worker, prefect.engine, prefect.server.api.server, \
ray.autoscaler._private.monitor, ray.dashboard.agent, ray.dashboard.dashboard, ray.data, ray.scripts.scripts, ray.serve, \
ray.train.torch, safetensors.torch, scipy.stats, skimage, tensorboardX, torch, torch._dynamo, webdataset'

FROM ${BASE}
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="SCN" \
      org.opencontainers.image.description="Image restoration, from photographs to published models" \
      org.opencontainers.image.revision="${COMMIT}"
# More of Debian's packages, such as g++ where networks are to be compiled.
ARG PACKAGES=""
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 make git openssh-client ca-certificates libjpeg62-turbo liblcms2-2 libtiff6 libwebp7 \
    libwebpdemux2 libwebpmux3 ${PACKAGES} \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 1000 scn \
 && install -d -o scn -g scn /app /project /corpora
# Debian's profile sets PATH anew, and KubeRay before 1.4 starts Ray by a login shell.
RUN echo 'PATH=/app/.venv/bin:$PATH' > /etc/profile.d/scn.sh
WORKDIR /app
COPY --from=build --chown=scn:scn /app/.venv .venv
COPY --chown=scn:scn . .
USER scn
# An image holds no git repository: DVC works without one, and the environment is not made again.
RUN .venv/bin/pip install --quiet --no-deps --no-index --no-build-isolation --editable . \
 && mkdir -p .scn .dvc/cache \
 && .venv/bin/dvc config --local core.no_scm true && touch .venv/ready
ENV PATH=/app/.venv/bin:$PATH \
    DO_NOT_TRACK=1 DVC_NO_ANALYTICS=true PREFECT_SERVER_ANALYTICS_ENABLED=false RAY_USAGE_STATS_ENABLED=0
VOLUME ["/app/.scn", "/app/.dvc/cache"]
CMD ["make", "run"]
