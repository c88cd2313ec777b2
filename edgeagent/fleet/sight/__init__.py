"""Who is there: devices as they tell themselves, chosen by an expression, watched live."""
