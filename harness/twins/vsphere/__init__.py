"""The vSphere twin: vcsim behind a proxy of ours, and a real guest in QEMU behind every machine that is powered on."""
