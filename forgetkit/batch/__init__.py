"""Many runs of a notebook or a function: resumable, each in a process of its own, and one table of them all.

spec.py, task.py: what a sweep is. run.py: the side that starts the runs. worker.py: one run, and record.py: its folder.
notebook.py: a notebook as a file. table.py: what came out. Nothing here imports torch or another part of forgetkit.
"""
