"""Codebooks, the search for the nearest entries, the router, and their losses.

Axes, here and everywhere: B images, M groups, T tokens, S codebooks a group (T when token-specific, 1 when shared),
K entries, d channels.
"""
