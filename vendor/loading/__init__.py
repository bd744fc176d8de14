"""What every network needs, whoever made it.

`weights` reads and checks files; `noise` draws random numbers; `machine` says what this process may use of its machine.

It lies in vendor/, since the vendored networks import nothing of the library and the library imports them.
"""
