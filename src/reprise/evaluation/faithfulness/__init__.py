"""How faithful explanations are: whether the events that they name change the score."""
