"""Everything that is said to the Linux inside a machine: commands, facts, files, its clock, its serial console."""
