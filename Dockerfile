# One image for workers, beat, Flower and the command line; the command says which.

FROM python:3.12-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python -m venv /venv && python -m venv /tools
ENV PATH=/venv/bin:$PATH
# The locks alone first: this layer is built anew only when they change.
COPY requirements.lock requirements-build.lock ./
RUN pip install --require-hashes -r requirements.lock \
    && /tools/bin/pip install --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY orch ./orch
RUN /tools/bin/python -m hatchling build -t wheel -d /wheels \
    && pip install --no-deps --no-index /wheels/*.whl

FROM python:3.12-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 orch \
    && useradd --uid 10001 --gid orch --create-home orch \
    && install --directory --owner=orch --group=orch /data
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY --from=build /venv /venv
# Not writable by the user that runs steps, and not the directory that they write files to:
# what a step writes must never be imported by the next start of a worker.
WORKDIR /app
COPY worker.py beat.py ./
USER orch
VOLUME /data
STOPSIGNAL SIGTERM
# Of a worker; another command switches it off or brings its own. A ping is answered by the
# main process however busy the children are.
HEALTHCHECK --interval=60s --timeout=20s --start-period=30s --retries=3 \
    CMD celery -A worker inspect ping -d "celery@$HOSTNAME" --timeout 5 || exit 1
CMD ["celery", "-A", "worker", "worker", "--without-gossip", "--without-mingle", "--events", "--loglevel", "INFO"]
