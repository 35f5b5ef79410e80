"""Many runs of a notebook or a function: resumable, each in a process of its own, and one table of them all.

spec.py, task.py: what a sweep is. run.py: the side that starts the runs. worker.py: their guard, and record.py: a run's
folder. notebook.py: how one is executed. table.py: what came out. Nothing imports torch or another part of forgetkit.
"""
