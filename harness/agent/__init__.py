"""The PowerShell that Hyper-V hosts run, as data, and its digest: read by driver and twin alike."""
