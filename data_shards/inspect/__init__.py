"""inspect: what a shard set holds, as text and as one self-contained HTML page.

look.py                   a bounded part of a set, looked at, however large it is
text.py                   for a terminal
document.py, style.css    the page, from top to bottom
figures.py, histogram.py  accounts, proportions and labels; one histogram as SVG
gallery.py, thumbnails.py samples and rejected images; one small picture
"""
