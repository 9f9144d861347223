"""`forebay models drift`: has the behaviour of the local model moved since it was pinned?"""
