"""The operator's side: what many devices sent, collected, accounted for and audited."""
