"""How good a model is on labelled data, and whether another version is better.

`data` reads what is labelled, `answers` asks the model on all cores, `labels`, `boxes` and
`values` measure by the kind of its answers, `compare` says whether a
difference is chance, `report` shows it.
"""
