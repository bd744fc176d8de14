"""What every loader of a network needs, whoever made the network.

`weights` reads and checks files; `machine` says what this process may use of its machine.

It lies in vendor/, since the vendored networks import nothing of the library and the library imports them.
"""
