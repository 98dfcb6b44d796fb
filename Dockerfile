# The image of bulkdel: not root, nothing written beside the data. docs/unattended.md has how to run it.
#
#   docker build --tag bulkdel .
#   docker run --rm --volume "$PWD:/data" --user "$(id -u):$(id -g)" bulkdel plan delete-users users.csv
#
# requirements.lock and, for the extras, requirements-image.lock have every package with its hash. `make test-deploy` builds the image on another base.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /src
RUN python3 -m venv /opt/bulkdel
COPY requirements.lock requirements-image.lock ./
RUN /opt/bulkdel/bin/python -m pip install --no-cache-dir --require-hashes --only-binary :all: \
    -r requirements.lock -r requirements-image.lock
COPY pyproject.toml README.md LICENSE config.example.toml ./
COPY runner runner
COPY jobs jobs
# Only the build needs setuptools and pip. Everything is compiled here, because the image may be read-only.
RUN /opt/bulkdel/bin/python -m pip install --no-cache-dir --no-index --no-deps --no-build-isolation . \
    && /opt/bulkdel/bin/python -m pip uninstall --quiet --yes setuptools pip \
    && /opt/bulkdel/bin/python -m compileall -q /opt/bulkdel/lib

FROM ${BASE}
COPY --from=build /opt/bulkdel /opt/bulkdel
RUN install --directory --owner=65532 --group=65532 /data
ENV PATH=/opt/bulkdel/bin:$PATH PYTHONDONTWRITEBYTECODE=1 TMPDIR=/data
WORKDIR /data
USER 65532:65532
# It is process 1: SIGTERM drains the run, and the exit code is 143.
ENTRYPOINT ["bulkdel"]
