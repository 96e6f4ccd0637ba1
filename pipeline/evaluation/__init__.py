"""What features are worth: kNN and linear accuracy, and measures that tell a collapse.

features.py     a backbone and a sequential loader -> features, labels, indices
extraction.py   the same for a split of any size, into files, by many processes
columns.py      one such file, as npz or Parquet
feature_set.py  the files, opened by split and tap
compute.py      where a frozen network runs, and the processes together
neighbours.py   the nearest rows of a bank of any size
asked.py        queries of a feature set, dealt to the processes
knn.py          weighted k nearest neighbours, alone or over a grid
retrieval.py    mAP, mAP@k and recall@k of a search
accuracy.py     a classifier's top-1 and top-5, by class, and what it confuses
linear.py       logistic regression on features
energy.py       spread, effective rank, energy gap
"""
