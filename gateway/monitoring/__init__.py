"""How a gateway is watched from outside: what it has counted, read from every room and shown at `/metrics`."""
