"""Runcast measured beside a gateway as it is usually written by hand. See README.md."""
