"""What a network is worth: its features by kNN, linear heads and search, a classifier by its mistakes.

features.py     a backbone and a sequential loader -> features, labels, indices
compute.py      where a frozen network runs, and the processes together
feature_sets/   features of whole splits in files
search/         nearest neighbours, kNN, retrieval
heads/          linear heads on a frozen network, low-shot
labels/         which labels are used, and whose classes are meant
classified/     accuracy, calibration
intervals.py    how sure a figure is
memory.py       how much memory is free
memory.py       how much memory is free
energy.py       spread, effective rank, energy gap
gallery.py      pictures of crops, and of the images nearest to prototypes
observing.py    a process of its own that measures kNN accuracy beside training
"""
