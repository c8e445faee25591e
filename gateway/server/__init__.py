"""Our own server: uvicorn, with protocol classes that hand a viewer's socket over once its handshake is done."""
