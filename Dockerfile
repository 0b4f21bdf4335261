# The image of vdb's server:   docker build -t vdb .
#                              docker run -p 8000:8000 -v vdb-data:/app/data vdb
#
#   wheels ─┬▶ environment ──▶ server               (the last stage: what a build without --target makes)
#           └▶ dashboard-environment ──▶ dashboard
#
# wheels        our distributions, built from this checkout; Rust in release mode
# environment   a virtual environment of them and of what uv.lock names, checked by its hashes
# server        the environment on a plain Python: no compiler, no package cache, not root
# dashboard     the same of vdb-dashboard: docker build --target dashboard -t vdb-dashboard .
#
# Every stage is plain Dockerfile that the classic builder takes too, and no base is needed but these two.
ARG PYTHON_IMAGE=python:3.13-slim-trixie
ARG RUST_IMAGE=rust:1.95-slim-trixie

FROM ${RUST_IMAGE} AS wheels
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# Apart and first: it takes minutes, and changes less often than the rest.
COPY vdb-index-rust vdb-index-rust
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels ./vdb-index-rust
COPY vdb-core vdb-core
COPY vdb-server vdb-server
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels ./vdb-core ./vdb-server
COPY vdb-sdk vdb-sdk
COPY vdb-dashboard vdb-dashboard
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dashboard-wheels ./vdb-sdk ./vdb-dashboard

FROM ${PYTHON_IMAGE} AS lock
RUN python -m venv /opt/tools && /opt/tools/bin/pip install --no-cache-dir uv==0.13.*
WORKDIR /src
COPY --from=wheels /src /src
COPY pyproject.toml uv.lock ./

FROM lock AS dashboard-environment
RUN /opt/tools/bin/uv export --quiet --frozen --package vdb-dashboard --no-dev \
        --no-emit-workspace --output-file /requirements.txt
RUN python -m venv --without-pip /opt/vdb \
    && pip --python /opt/vdb install --no-cache-dir --require-hashes --only-binary :all: -r /requirements.txt
COPY --from=wheels /dashboard-wheels /wheels
RUN pip --python /opt/vdb install --no-cache-dir --no-deps --no-index /wheels/*.whl \
    && pip --python /opt/vdb check

FROM ${PYTHON_IMAGE} AS dashboard
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="vdb-dashboard" \
      org.opencontainers.image.description="A dashboard for vdb in the browser" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --gid 10001 vdb \
    && useradd --uid 10001 --gid vdb --no-create-home --home-dir /tmp --shell /usr/sbin/nologin vdb
COPY --from=dashboard-environment /opt/vdb /opt/vdb
COPY docker/healthcheck.py /app/healthcheck.py
# Streamlit keeps what it has to under its user's home; nothing of it is worth a volume.
ENV PATH=/opt/vdb/bin:$PATH \
    HOME=/tmp \
    HEALTH_PATH=/_stcore/health \
    HEALTH_PORT=8501 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    VDB_URL=http://server:8000
USER 10001:10001
WORKDIR /tmp
EXPOSE 8501
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-I", "/app/healthcheck.py"]
# Beyond loopback it lends nobody a key: whoever opens the page enters one.
ENTRYPOINT ["vdb-dashboard"]
CMD ["--host", "0.0.0.0"]

FROM lock AS environment
RUN /opt/tools/bin/uv export --quiet --frozen --package vdb-server --extra telemetry --no-dev \
        --no-emit-workspace --output-file /requirements.txt
RUN python -m venv --without-pip /opt/vdb \
    && pip --python /opt/vdb install --no-cache-dir --require-hashes --only-binary :all: -r /requirements.txt
COPY --from=wheels /wheels /wheels
RUN pip --python /opt/vdb install --no-cache-dir --no-deps --no-index /wheels/*.whl \
    && pip --python /opt/vdb check \
    # Other people's tests are a tenth of the image. Only the files of tests: helpers beside them are imported by some.
    && find /opt/vdb -path '*/tests/*' \( -name 'test_*.py' -o -name 'test_*.pyc' -o -path '*/data/*' \) -type f -delete

FROM ${PYTHON_IMAGE} AS server
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="vdb" \
      org.opencontainers.image.description="A vector database framework: the REST server and the vdb command" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --gid 10001 vdb \
    && useradd --uid 10001 --gid vdb --no-create-home --home-dir /app --shell /usr/sbin/nologin vdb \
    && install --directory --owner vdb --group vdb --mode 0750 /app/data
COPY --from=environment /opt/vdb /opt/vdb
COPY docker/healthcheck.py /app/healthcheck.py
ENV PATH=/opt/vdb/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    VDB_DATA_DIR=/app/data \
    VDB_HOST=0.0.0.0 \
    VDB_MAKE_API_KEY=true \
    VDB_URL=http://127.0.0.1:8000
USER 10001:10001
WORKDIR /app
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-I", "/app/healthcheck.py"]
# The server itself is process 1: it handles SIGTERM and starts no children.
ENTRYPOINT ["vdb"]
CMD ["serve"]
# Last: what the classic builder runs after it would leave volumes behind.
VOLUME /app/data
