"""The ``hyperv`` backend: guests on Windows Hyper-V hosts, through pywinrm and a resident PowerShell agent."""
