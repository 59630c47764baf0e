"""Nothing leaves unguarded: the chain that decides, the account it decides by, and the interpreters that perform."""
