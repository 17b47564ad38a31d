"""Pages to look at a network with: a card of one, a site of many. They ask nothing of any other."""
