"""page: a shard set as one self-contained HTML page.

    document.py               the page, from top to bottom
    figures.py, histogram.py  accounts, proportions and labels; one histogram as SVG
    gallery.py, thumbnails.py samples and rejected images; one small picture
    markup.py, style.css      how all of it is written

It needs no network and no script, and looks at a bounded part of a set however large it is (`look.py`).
"""
