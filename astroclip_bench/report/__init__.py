"""One HTML page of what a model was found to do, with its figures."""
