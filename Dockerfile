# One image for the sidecar (`serve`, the default) and the budget service (`budget serve`).
#
# Rules kept here:
# - Everything Python is what requirements.lock says, by hash, with bytecode: the root file system is read-only at run time.
# - No compiler, package manager or shell script of ours in the final stage; it runs as 65532 and needs no capability.
# - No HEALTHCHECK (the kubelet's probes ask grpc.health.v1) and no init: the process handles SIGTERM as PID 1.
#
# `make image` builds it without any registry, on a Debian made by debootstrap. With one:
#   docker build --build-arg UV=ghcr.io/astral-sh/uv:0.13.9 -t atlas-sidecar .
# EXTRAS=bedrock,vertex adds the SDKs of those clouds, at the versions of requirements-dev.lock.

# A Debian with a python3 of 3.11 or newer; both stages must have the very same one.
ARG BASE=docker.io/library/python:3.11-slim-bookworm
# An image with the program /uv.
ARG UV=ghcr.io/astral-sh/uv:0.13.9

FROM ${UV} AS uv

FROM ${BASE} AS build
ARG EXTRAS=""
COPY --from=uv /uv /usr/local/bin/uv
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS=1 \
    VIRTUAL_ENV=/opt/atlas
WORKDIR /src
# What changes least comes first: a change of our code reuses the layer of the dependencies.
COPY requirements.lock requirements-dev.lock ./
RUN uv venv --quiet "$VIRTUAL_ENV" && uv pip sync --quiet --require-hashes requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY clients/python clients/python
COPY atlas_sidecar atlas_sidecar
RUN for part in clients/python .; do \
        uv build --quiet --wheel --require-hashes --build-constraints requirements-dev.lock --out-dir /wheels "$part" || exit 1; \
    done && \
    uv pip install --quiet --no-deps /wheels/*.whl && \
    if [ -n "$EXTRAS" ]; then \
        uv pip install --quiet --constraint requirements-dev.lock --find-links /wheels "atlas-sidecar[$EXTRAS]"; \
    fi
COPY tools/sbom.py tools/sbom.py
RUN "$VIRTUAL_ENV/bin/python" tools/sbom.py > "$VIRTUAL_ENV/sbom.cdx.json"

FROM ${BASE}
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ATLAS sidecar" \
      org.opencontainers.image.description="Picks an LLM for each request of one agent pod, runs it, falls back, keeps the books." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/atlas /opt/atlas
# PYTHONDONTWRITEBYTECODE: the bytecode is there, and nothing may write. HOME: /nonexistent, so that nobody counts on one.
ENV PATH="/opt/atlas/bin:/usr/local/bin:/usr/bin:/bin" \
    HOME=/nonexistent PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1
USER 65532:65532
WORKDIR /
STOPSIGNAL SIGTERM
ENTRYPOINT ["atlas-sidecar"]
CMD ["serve"]
