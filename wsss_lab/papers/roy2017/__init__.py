"""Roy & Todorovic 2017, top-down attention in one network."""
