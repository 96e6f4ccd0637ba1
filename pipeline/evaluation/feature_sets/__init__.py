"""Features of a whole split, computed once, in files that every evaluation reads.

extraction.py    by one process or many, into files of bounded size
columns.py       one such file, as npz or Parquet
feature_set.py   the files, opened by split and tap
asked.py         queries of a feature set, dealt to the processes
"""
