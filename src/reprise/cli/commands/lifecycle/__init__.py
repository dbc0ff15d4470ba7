"""Commands for the life of a model: versions, retraining and feedback."""
