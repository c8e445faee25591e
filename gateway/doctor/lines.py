"""The lines to change, where several checks come to the same ones."""

from __future__ import annotations

from typing import Final

BUFFERING: Final = (
    "nginx:      proxy_buffering off;   # and no proxy_ignore_headers X-Accel-Buffering",
    "nginx:      proxy_http_version 1.1;   # with 1.0, which it speaks by default, buffers are filled to the end",
    "Apache:     ProxyPass / http://127.0.0.1:8787/ flushpackets=on",
    "HAProxy:    no option http-buffer-response",
)
COMPRESSION: Final = (
    "nginx:      gzip off;   # in the location of /v1/events, or no text/event-stream in gzip_types",
    "Caddy:      encode { match header Content-Type text/html* }   # anything but text/event-stream",
)
UPGRADE: Final = (
    "nginx:      proxy_http_version 1.1;",
    "nginx:      proxy_set_header Upgrade $http_upgrade;",
    'nginx:      proxy_set_header Connection "upgrade";',
    "Apache:     ProxyPass /v1/ws ws://127.0.0.1:8787/v1/ws",
)
IDLE: Final = (
    "nginx:      proxy_read_timeout 1h;",
    "HAProxy:    timeout tunnel 1h",
    "AWS ALB:    idle_timeout.timeout_seconds=3600",
    "otherwise:  RUNCAST_HEARTBEAT=5   # of the gateway: then nothing is idle for longer",
)
POLLS: Final = (
    "nginx:      proxy_read_timeout 60s;",
    "HAProxy:    timeout server 60s",
    "AWS ALB:    idle_timeout.timeout_seconds=60",
)
ROUTES: Final = (
    "nginx:      location / { proxy_pass http://127.0.0.1:8787; }   # all paths: /v1/, and also /realtime/ and /api/",
    "Caddy:      reverse_proxy 127.0.0.1:8787   # without a path before the address",
)
LONG_HEADERS: Final = (
    "nginx:      large_client_header_buffers 4 32k;",
    "HAProxy:    tune.bufsize 32768",
    "Apache:     LimitRequestFieldSize 32768",
)
