"""Models behind the HTTP server: who is loaded, what waits, and the protocols' codecs."""
