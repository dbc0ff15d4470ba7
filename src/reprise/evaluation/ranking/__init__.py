"""Full ranking: the targets, their ranks and their top-k lists."""
