"""What the fields of a row say: truths and predictions of each kind of task, read and checked."""
