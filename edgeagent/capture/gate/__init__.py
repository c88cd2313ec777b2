"""Which samples are worth an inference: schedule, trigger, movement, rate.

gate     the decision, and what it has saved
motion   where a picture differs from what was there before
"""
