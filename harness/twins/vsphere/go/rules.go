package main

import (
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// What a real host refuses and the simulator accepts, or dies of.

// mustKnow checks a new or changed configuration against what exists: port groups, ISOs, forbidden keys, sizes.
func (t *twin) mustKnow(spec *types.VirtualMachineConfigSpec) types.BaseMethodFault {
	for _, option := range spec.ExtraConfig {
		key := strings.ToLower(option.GetOptionValue().Key)
		// The simulator would write any property by SET., and start containers by RUN.; no host does either.
		if strings.HasPrefix(key, "set.") || strings.HasPrefix(key, "run.") || key == "ip0" {
			return &types.InvalidArgument{InvalidProperty: "configSpec.extraConfig"}
		}
	}
	if spec.NumCPUs < 0 || spec.MemoryMB < 0 || spec.MemoryMB%4 != 0 {
		return &types.InvalidArgument{InvalidProperty: "configSpec.memoryMB"}
	}
	if spec.NumCPUs > t.settings.MaxVCPUs {
		return &types.NumVirtualCpusExceedsLimit{MaxSupportedVcpus: t.settings.MaxVCPUs}
	}
	for i, change := range spec.DeviceChange {
		c := change.GetVirtualDeviceConfigSpec()
		if c.Device == nil {
			return &types.InvalidDeviceSpec{DeviceIndex: int32(i)}
		}
		if c.Operation == types.VirtualDeviceConfigSpecOperationRemove {
			continue
		}
		if fault := t.mustKnowDevice(int32(i), c); fault != nil {
			return fault
		}
	}
	return nil
}

func (t *twin) mustKnowDevice(index int32, change *types.VirtualDeviceConfigSpec) types.BaseMethodFault {
	device := change.Device
	switch backing := device.GetVirtualDevice().Backing.(type) {
	case *types.VirtualEthernetCardNetworkBackingInfo:
		if t.portGroup(backing.DeviceName) == nil {
			fault := &types.InvalidDeviceBacking{}
			fault.DeviceIndex, fault.Property = index, "virtualDeviceSpec.device.backing.deviceName"
			fault.MethodFault = cause(say("there is no network %q", backing.DeviceName))
			return fault
		}
	case *types.VirtualCdromIsoBackingInfo:
		if file := t.file(backing.FileName); !exists(file) {
			return &types.FileNotFound{FileFault: types.FileFault{File: backing.FileName}}
		}
	}
	disk, ok := device.(*types.VirtualDisk)
	if !ok {
		return nil
	}
	created := change.FileOperation == types.VirtualDeviceConfigSpecFileOperationCreate
	if created && disk.CapacityInKB == 0 && disk.CapacityInBytes == 0 {
		return &types.InvalidDeviceSpec{DeviceIndex: index}
	}
	if free := t.plan.freeSpace(); created && free >= 0 && max(disk.CapacityInBytes, disk.CapacityInKB<<10) > free {
		fault := &types.NoDiskSpace{Datastore: t.settings.Datastore}
		fault.File = fileOf(disk)
		return fault
	}
	if name := fileOf(disk); name != "" && strings.HasSuffix(name, ".vmdk") && t.file(name) == "" {
		return &types.InvalidDatastorePath{InvalidDatastore: types.InvalidDatastore{Name: name}, DatastorePath: name}
	}
	return nil
}

// mayChange checks a reconfiguration against the machine's state; the caller holds its lock.
func (t *twin) mayChange(vm *simulator.VirtualMachine, spec *types.VirtualMachineConfigSpec) types.BaseMethodFault {
	if fault := t.mustKnow(spec); fault != nil {
		return fault
	}
	config := vm.Config
	vcpus, cores := config.Hardware.NumCPU, config.Hardware.NumCoresPerSocket
	if spec.NumCPUs != 0 {
		vcpus = spec.NumCPUs
	}
	if spec.NumCoresPerSocket != 0 {
		cores = spec.NumCoresPerSocket
	}
	if cores > 0 && vcpus%cores != 0 {
		fault := &types.InvalidVmConfig{Property: "numCoresPerSocket"}
		fault.MethodFault = cause(say("%d vCPUs are no whole number of sockets of %d cores", vcpus, cores))
		return fault
	}
	if vm.Runtime.PowerState != off {
		if fault := mayChangeLive(vm, spec); fault != nil {
			return fault
		}
	}
	return t.mayChangeDisks(vm, spec)
}

// mayChangeLive are the rules of a machine that is on or suspended.
func mayChangeLive(vm *simulator.VirtualMachine, spec *types.VirtualMachineConfigSpec) types.BaseMethodFault {
	config, state := vm.Config, vm.Runtime.PowerState
	moreCPUs := spec.NumCPUs != 0 && spec.NumCPUs != config.Hardware.NumCPU
	moreMemory := spec.MemoryMB != 0 && spec.MemoryMB != int64(config.Hardware.MemoryMB)
	frozen := (spec.NumCoresPerSocket != 0 && spec.NumCoresPerSocket != config.Hardware.NumCoresPerSocket) ||
		(spec.Firmware != "" && spec.Firmware != config.Firmware) ||
		(spec.GuestId != "" && spec.GuestId != config.GuestId) ||
		(spec.CpuHotAddEnabled != nil && truth(spec.CpuHotAddEnabled) != truth(config.CpuHotAddEnabled)) ||
		(spec.MemoryHotAddEnabled != nil && truth(spec.MemoryHotAddEnabled) != truth(config.MemoryHotAddEnabled)) ||
		(spec.Uuid != "" && spec.Uuid != config.Uuid)
	if frozen || (state == suspended && (moreCPUs || moreMemory || len(spec.DeviceChange) > 0)) {
		return wrongState(state, off)
	}
	if moreCPUs && (spec.NumCPUs < config.Hardware.NumCPU || !truth(config.CpuHotAddEnabled)) {
		fault := &types.CpuHotPlugNotSupported{}
		fault.MethodFault = cause("CPU hot plug is not supported for this virtual machine")
		return fault
	}
	if moreMemory && (spec.MemoryMB < int64(config.Hardware.MemoryMB) || !truth(config.MemoryHotAddEnabled)) {
		fault := &types.MemoryHotPlugNotSupported{}
		fault.MethodFault = cause("memory hot plug is not supported for this virtual machine")
		return fault
	}
	devices := object.VirtualDeviceList(config.Hardware.Device)
	for _, change := range spec.DeviceChange {
		c := change.GetVirtualDeviceConfigSpec()
		_, isDisk := c.Device.(*types.VirtualDisk)
		switch devices.FindByKey(c.Device.GetVirtualDevice().ControllerKey).(type) {
		case *types.VirtualIDEController, *types.VirtualAHCIController:
			drive, isDrive := c.Device.(*types.VirtualCdrom)
			edit := c.Operation == types.VirtualDeviceConfigSpecOperationEdit
			if isDisk || (isDrive && drive != nil && !edit) {
				return wrongState(state, off) // IDE has no hot plug
			}
		}
		if _, serial := c.Device.(*types.VirtualSerialPort); serial {
			return wrongState(state, off)
		}
	}
	return nil
}

// mayChangeDisks keeps disks from shrinking, and those that stand on another from growing: a clone's on its source's, and
// any on what a snapshot has of it. A disk that came after the machine's snapshots stands on nothing.
func (t *twin) mayChangeDisks(vm *simulator.VirtualMachine, spec *types.VirtualMachineConfigSpec) types.BaseMethodFault {
	devices := object.VirtualDeviceList(vm.Config.Hardware.Device)
	for i, change := range spec.DeviceChange {
		c := change.GetVirtualDeviceConfigSpec()
		wanted, ok := c.Device.(*types.VirtualDisk)
		if !ok || c.Operation != types.VirtualDeviceConfigSpecOperationEdit {
			continue
		}
		known, ok := devices.FindByKey(wanted.Key).(*types.VirtualDisk)
		if !ok {
			return &types.InvalidDeviceSpec{DeviceIndex: int32(i)}
		}
		size := wanted.CapacityInBytes
		if size == 0 || (size == known.CapacityInBytes && wanted.CapacityInKB != 0) {
			size = wanted.CapacityInKB << 10
		}
		if size == 0 || size == known.CapacityInBytes {
			continue
		}
		fault := &types.InvalidDeviceOperation{BadOp: types.VirtualDeviceConfigSpecOperationEdit}
		fault.DeviceIndex = int32(i)
		b, _ := known.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		switch {
		case size < known.CapacityInBytes:
			fault.MethodFault = cause("disks grow only")
		case (b != nil && b.Parent != nil) || t.inSnapshot(vm, fileOf(known)):
			fault.MethodFault = cause("a disk with a parent keeps its size")
		default:
			continue
		}
		return fault
	}
	return nil
}

// inSnapshot says whether one of the machine's snapshots has this disk; the caller holds the machine's lock.
func (t *twin) inSnapshot(vm *simulator.VirtualMachine, file string) bool {
	if vm.Snapshot == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, ref := range flat(vm.Snapshot.RootSnapshotList) {
		kept := t.snapshots[ref]
		if kept == nil {
			continue
		}
		for _, device := range kept.config.Hardware.Device {
			if _, ok := device.(*types.VirtualDisk); ok && fileOf(device) == file {
				return true
			}
		}
	}
	return false
}
