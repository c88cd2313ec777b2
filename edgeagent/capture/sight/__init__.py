"""Whether a camera still sees what it was put up to see.

    glance   what is measured of one picture, cheaply and seldom
    view     what was learned at set-up: how this view usually looks
    judge    glance + view → which faults it shows (pure)
    still    pictures that do not change any more
    sight    when to look, how long a fault must last, what is told of it

A camera that answers is not a camera that works: it can be covered, turned away, out of focus,
blinded, or repeat its last picture for ever, and every model behind it goes on to find nothing.
"""
