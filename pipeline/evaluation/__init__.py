"""What features are worth: kNN and linear accuracy, and measures that tell a collapse.

features.py   a backbone and a sequential loader -> features, labels, indices
knn.py        weighted k nearest neighbours
accuracy.py   a classifier's top-1 and top-5, by class, and what it confuses
linear.py     logistic regression on features
splits.py     which labels are used: shares, so many of each class, lists of file names
classes.py    whether the classes of training, test and checkpoint agree
energy.py     spread, effective rank, energy gap
"""
