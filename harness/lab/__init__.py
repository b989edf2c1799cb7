"""What exists: lab files as typed models, runs and their journal, leases, the reaper, and warm slots of guests."""
