"""Both written forms of the language: reading them, explaining what is wrong with them, and writing them."""
