"""Systems for the tasks: a recogniser followed by a text model, and heads over a speech encoder."""
