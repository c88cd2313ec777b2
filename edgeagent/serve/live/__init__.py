"""What people and programs look at while the agent runs: events as they happen."""
