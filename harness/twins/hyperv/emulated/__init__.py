"""The cmdlets of a Hyper-V host, emulated once: the real PowerShell binder or ours binds them, one table answers."""
