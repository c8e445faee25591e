"""How viewers reach their feeds: who is let in, the WebSocket, Server-Sent Events, and what each calls an error."""
