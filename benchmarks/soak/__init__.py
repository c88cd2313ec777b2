"""Endurance: an agent with three pipelines for a long time, with a fault every other minute."""
