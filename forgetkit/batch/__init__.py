"""Many runs of a notebook or a function: resumable, in processes, as one table."""
