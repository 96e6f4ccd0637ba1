"""What features are worth: kNN and linear accuracy, and measures that tell a collapse.

features.py        a backbone and a sequential loader -> features, labels, indices
knn.py             weighted k nearest neighbours
linear.py          logistic regression on features
energy.py          spread, effective rank, energy gap
accuracy.py        a classifier's top-1 and top-5, by class, and what it confuses
calibration.py     whether its confidence is earned
asked_classes.py   the classes of a test, among those that it knows
real.py            ImageNet-ReaL's labels, several an image
measured.py        all that over a whole test; scorecard.py tells it
intervals.py       how sure a figure is
observing.py       a process of its own that measures kNN accuracy beside training
"""
