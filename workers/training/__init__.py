"""Where the router's weights come from, and how good they are: `forebay router train` and `eval`.

Needs the extra `router`; nothing that routes or works jobs imports it.
"""
