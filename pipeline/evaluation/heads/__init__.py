"""Classifiers on a frozen network.

grid.py       linear heads of many rates and taps, trained together
linear.py     the same on features in memory
probing.py    the same on random crops, as an objective
choice.py     which of them is chosen
logistic.py   logistic regression to its optimum
lowshot.py    the same on a few labels, drawn again and again
"""
