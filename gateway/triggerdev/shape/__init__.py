"""Feeds as shapes: long polls that the official clients fold into rows (the shape-stream protocol)."""
