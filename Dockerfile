# The gateway, slim and without root; it writes nothing but temporary files. The steps are those of the README.
#
#   docker build -t runcast .
#   docker run -p 8787:8787 -e RUNCAST_SECRET_KEY=… -e RUNCAST_REDIS_URL=redis://… \
#       --read-only --tmpfs /tmp --cap-drop ALL --stop-timeout 15 --ulimit nofile=65536 runcast
FROM python:3.11-slim AS build
COPY . /src
RUN python -m venv /opt/runcast && /opt/runcast/bin/pip install --no-cache-dir "/src[embedded]"

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/runcast --create-home runcast
COPY --from=build /opt/runcast /opt/runcast
ENV PATH=/opt/runcast/bin:$PATH PYTHONUNBUFFERED=1 RUNCAST_HOST=0.0.0.0 RUNCAST_PORT=8787
USER runcast
WORKDIR /var/lib/runcast
EXPOSE 8787
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"RUNCAST_PORT\"]}/readyz', timeout=2)"]
# No shell in between: SIGTERM reaches the gateway itself, which sends its viewers away and ends by itself.
STOPSIGNAL SIGTERM
ENTRYPOINT ["runcast"]
CMD ["serve"]
