"""What unit models learn: functions of a network and a batch to a loss, and how sequences become such batches."""
