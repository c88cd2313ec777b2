"""Whether what a pipeline sees and says is still what it was: sketches of samples and predictions,
compared with what the model was made for or with the first week on this device.

`sketch` and `shares` hold distributions in little room, `look` and `outputs` say what is measured
of a sample and of an answer, `chapter` is a stretch of both, `reference` the stretches that are
usual, and `watch` what a pipeline runs.
"""
