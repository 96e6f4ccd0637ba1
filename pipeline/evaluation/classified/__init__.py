"""How good a classifier is.

accuracy.py      top-1 and top-5, by class, and what it confuses
calibration.py   whether its confidence is earned
measured.py      all that over a whole test, by many processes
real.py          ImageNet-ReaL's labels, several an image
scorecard.py     figures, tables and a chart
"""
