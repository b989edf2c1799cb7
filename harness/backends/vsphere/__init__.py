"""The ``vsphere`` backend: guests on ESXi, through vCenter or the host itself, by pyvmomi."""
