"""Why a model says what it says: what changes its answer when it is hidden.

Nothing is asked of the model but answers, so it works for every runtime and precision: `pictures`
hides parts of a picture, `windows` stretches of a recording, `target` says how much of the answer
is left.
"""
