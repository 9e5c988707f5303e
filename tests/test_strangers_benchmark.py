"""How benchmarks on people without identities tell what they found."""

import numpy as np

from benchmarks.strangers import beside


def test_a_row_has_means_and_what_it_is_more_than_the_row_that_it_is_compared_with():
    one, other = {"IDS": np.array([0.5, 0.7])}, {"IDS": np.array([0.4, 0.5])}
    table = beside([({"effort": 5}, one, other), ({"effort": 0}, other, other)])
    header, _, first, second = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    assert header == ["effort", "IDS", "IDS: more"]
    assert first == ["5", "0.6000", "+0.1500 [+0.1000, +0.2000]"]
    assert second == ["0", "0.4500", ""]
