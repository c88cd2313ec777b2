"""Which models are trusted: The Update Framework (https://theupdateframework.io).

python-tuf's client decides (`child`), in a process of its own that lives while something is
looked up; `repository` is what the rest of the agent sees.
"""
