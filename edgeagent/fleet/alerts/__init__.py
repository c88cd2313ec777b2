"""What needs a person: found once, told once, and once more when it is over."""
