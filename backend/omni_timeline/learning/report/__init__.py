"""An evaluation as one page: for the screen and for paper, with its pictures in it and nothing from elsewhere."""
