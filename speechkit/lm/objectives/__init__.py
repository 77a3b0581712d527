"""Training objectives of unit models: functions from a network and a batch to a loss, and the batch construction."""
