"""What the notebooks need besides the method: lessons, exercises, widgets, figures."""
