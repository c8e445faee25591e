"""Looks at a Redis, a gateway and what is between, and says which line to change (`runcast doctor`)."""
