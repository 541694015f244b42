"""Two domains in colour to train on, made of npm packages: faces of a cartoon style, and emoji."""
