"""The HTTP server beside others, and under more than it can do."""
