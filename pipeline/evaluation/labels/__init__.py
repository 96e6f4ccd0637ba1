"""Which labels are used, and whose classes are meant.

splits.py          shares, so many of each class, lists of file names
classes.py         whether the classes of training, test and checkpoint agree
asked_classes.py   the classes of a test, among those that a network knows
"""
