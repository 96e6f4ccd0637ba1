"""What lies near: the search, and what it says of features.

neighbours.py   the nearest rows of a bank of any size
knn.py          weighted k nearest neighbours, alone or over a grid
retrieval.py    mAP, mAP@k and recall@k
"""
