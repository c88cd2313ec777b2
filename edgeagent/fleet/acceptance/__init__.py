"""Is each box that was hung up in order? Asked of the boxes and of what has arrived, on one page.

`gather` asks, `sheet` judges and is what one device comes to, `page` is the HTML.
"""
