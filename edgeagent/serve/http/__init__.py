"""The optional HTTP server: off unless ``[serve]`` asks for it."""
