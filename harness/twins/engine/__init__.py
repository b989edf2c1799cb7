"""What all twins share: QEMU processes that behave like the machines of another hypervisor."""
