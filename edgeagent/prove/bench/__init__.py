"""Speed of a model on this device, measured so that it can be believed.

`plan` says what is asked for, `worker` runs in a child process and does it, `measure` leads the
children and puts the answers together.
"""
