"""The other end of the viewer protocol: what a viewer knows of runs, and how it stays connected to a gateway."""
