"""Plugins for edgeagent: one of each kind."""
