# The pipeline of `make run` in a container. Build: docker build -t scn .
# Run: docker run -v scn-state:/app/.scn -v scn-cache:/app/.dvc/cache scn
# S3: add -e AWS_ENDPOINT_URL -e AWS_ACCESS_KEY_ID -e AWS_SECRET_ACCESS_KEY and set storage.url in params.yaml.

FROM python:3.11-slim-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends make gcc g++ libc6-dev libjpeg62-turbo-dev libtiff-dev libwebp-dev zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
# The environment first: it changes less often than the code.
COPY pyproject.toml constraints.txt Makefile README.md ./
RUN for package in scn data_prep flows; do mkdir $package && touch $package/__init__.py; done \
 && make setup && test -e .venv/simd

FROM python:3.11-slim-bookworm
RUN apt-get update \
 && apt-get install -y --no-install-recommends make git libgomp1 libjpeg62-turbo libtiff6 libwebp7 libwebpdemux2 libwebpmux3 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 1000 scn \
 && install -d -o scn -g scn /app /app/.scn /app/.dvc /app/.dvc/cache
WORKDIR /app
COPY --from=build --chown=scn:scn /app/.venv .venv
COPY --chown=scn:scn . .
USER scn
# An image holds no git repository: DVC works without one, and the environment is not made again.
RUN .venv/bin/dvc config --local core.no_scm true && touch .venv/ready
VOLUME ["/app/.scn", "/app/.dvc/cache"]
CMD ["make", "run"]
