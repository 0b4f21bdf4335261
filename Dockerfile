# The image of vdb's server:   docker build -t vdb .
#                              docker run -p 8000:8000 -v vdb-data:/app/data vdb
#
#   wheels ──▶ environment ──▶ server
#
# wheels        our distributions, built from this checkout; Rust in release mode
# environment   a virtual environment of them and of what uv.lock names, checked by its hashes
# server        the environment on a plain Python: no compiler, no package cache, not root
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

FROM ${PYTHON_IMAGE} AS environment
RUN python -m venv /opt/tools && /opt/tools/bin/pip install --no-cache-dir uv==0.13.*
WORKDIR /src
COPY pyproject.toml uv.lock ./
COPY --from=wheels /src /src
# Every member of the workspace has to be there for the lock to be read, whether it is installed or not.
COPY vdb-sdk/pyproject.toml vdb-sdk/
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
