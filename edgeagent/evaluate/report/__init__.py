"""The report: one HTML page that needs nothing else, with the worst samples as pictures."""

from edgeagent.evaluate.report.page import page

__all__ = ["page"]
