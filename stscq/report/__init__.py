"""Tables and figures. They read what the evaluations wrote and compute nothing but statistics of it."""
