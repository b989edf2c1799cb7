package main

import (
	"os"
	"path/filepath"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/esx"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// folder is a folder of machines in which names are unique.
type folder struct {
	*simulator.Folder
	t *twin
}

func duplicate(ctx *simulator.Context, parent *simulator.Folder, name string) types.BaseMethodFault {
	if taken := ctx.Map.FindByName(name, parent.ChildEntity); taken != nil {
		return &types.DuplicateName{Name: name, Object: taken.Reference()}
	}
	return nil
}

// CreateVMTask makes a machine of a configuration.
func (f *folder) CreateVMTask(ctx *simulator.Context, req *types.CreateVM_Task) soap.HasFault {
	ref := f.t.run(ctx, f.Folder, "createVm", f.Name, func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
		return f.t.create(ctx, f.Folder, req)
	})
	return &methods.CreateVM_TaskBody{Res: &types.CreateVM_TaskResponse{Returnval: ref}}
}

// create makes a machine in the inventory and clears away what a failure left.
func (t *twin) create(
	ctx *simulator.Context, parent *simulator.Folder, req *types.CreateVM_Task,
) (types.AnyType, types.BaseMethodFault) {
	if fault := t.placed(ctx, req.Pool, req.Host); fault != nil {
		return nil, fault
	}
	if fault := t.creatable(ctx, parent, &req.Config); fault != nil {
		return nil, fault
	}
	known := t.folders()
	result, fault := nested(ctx, parent.CreateVMTask(ctx, req))
	if fault != nil {
		for name := range t.folders() {
			if !known[name] && req.Config.Files != nil && t.file(req.Config.Files.VmPathName) != "" &&
				filepath.Base(filepath.Dir(t.file(req.Config.Files.VmPathName))) == name {
				_ = os.RemoveAll(filepath.Join(t.datastoreDir, name))
			}
		}
		return nil, fault
	}
	if vm := t.machine(result.(types.ManagedObjectReference).Value); vm != nil {
		t.showTools(ctx, vm, toolsView{})
	}
	return result, nil
}

func (t *twin) creatable(ctx *simulator.Context, parent *simulator.Folder, spec *types.VirtualMachineConfigSpec) types.BaseMethodFault {
	if fault := duplicate(ctx, parent, spec.Name); fault != nil {
		return fault
	}
	if spec.Files == nil || spec.Files.VmPathName == "" {
		return &types.InvalidVmConfig{Property: "configSpec.files.vmPathName"}
	}
	if t.file(spec.Files.VmPathName) == "" {
		return &types.InvalidDatastorePath{DatastorePath: spec.Files.VmPathName}
	}
	if spec.NumCPUs > 0 && spec.NumCoresPerSocket > 0 && spec.NumCPUs%spec.NumCoresPerSocket != 0 {
		return &types.InvalidVmConfig{Property: "numCoresPerSocket"}
	}
	return t.mustKnow(spec)
}

// placed checks references that the simulator would trip over.
func (t *twin) placed(ctx *simulator.Context, where types.ManagedObjectReference, host *types.ManagedObjectReference) types.BaseMethodFault {
	switch ctx.Map.Get(where).(type) {
	case *simulator.ResourcePool, *simulator.VirtualApp:
	default:
		return &types.ManagedObjectNotFound{Obj: where}
	}
	if host != nil {
		if _, ok := ctx.Map.Get(*host).(*simulator.HostSystem); !ok {
			return &types.ManagedObjectNotFound{Obj: *host}
		}
	}
	return nil
}

func (t *twin) folders() map[string]bool {
	names := map[string]bool{}
	entries, _ := os.ReadDir(t.datastoreDir)
	for _, entry := range entries {
		names[entry.Name()] = true
	}
	return names
}

// RenameTask gives the machine another name; one that is taken is a DuplicateName, not the simulator's InvalidArgument.
func (m *machine) RenameTask(ctx *simulator.Context, req *types.Rename_Task) soap.HasFault {
	ref, fault := m.t.exclusive(ctx, m.VirtualMachine, "rename",
		func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			if fault := m.renames(ctx, &types.VirtualMachineConfigSpec{Name: req.NewName}); fault != nil {
				return nil, fault
			}
			ctx.WithLock(m.VirtualMachine, func() {
				ctx.Update(m.VirtualMachine, []types.PropertyChange{
					{Name: "name", Val: req.NewName},
					{Name: "config.name", Val: req.NewName},
					{Name: "summary.config.name", Val: req.NewName},
				})
			})
			return nil, nil
		})
	return &methods.Rename_TaskBody{Fault_: fault, Res: &types.Rename_TaskResponse{Returnval: ref}}
}

// CloneVMTask makes a machine like this one, or like a snapshot of it; its disks stand on the source's content.
func (m *machine) CloneVMTask(ctx *simulator.Context, req *types.CloneVM_Task) soap.HasFault {
	ref := m.t.run(ctx, m.VirtualMachine, "cloneVm", m.Name,
		func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) { return m.clone(ctx, req) })
	return &methods.CloneVM_TaskBody{Res: &types.CloneVM_TaskResponse{Returnval: ref}}
}

func (m *machine) clone(ctx *simulator.Context, req *types.CloneVM_Task) (types.AnyType, types.BaseMethodFault) {
	parent, ok := ctx.Map.Get(req.Folder).(*simulator.Folder)
	if !ok {
		return nil, &types.ManagedObjectNotFound{Obj: req.Folder}
	}
	place, fault := m.place(&req.Spec.Location)
	if fault == nil {
		fault = m.raise(ctx, "CloneVM_Task")
	}
	if fault != nil {
		return nil, fault
	}
	linked := req.Spec.Location.DiskMoveType == string(types.VirtualMachineRelocateDiskMoveOptionsCreateNewChildDiskBacking)
	if linked && req.Spec.Snapshot == nil {
		return nil, &types.InvalidArgument{InvalidProperty: "spec.snapshot"}
	}
	var source types.VirtualMachineConfigInfo
	if at := req.Spec.Snapshot; at != nil {
		m.t.mu.Lock()
		kept := m.t.snapshots[*at]
		m.t.mu.Unlock()
		if kept == nil {
			return nil, &types.ManagedObjectNotFound{Obj: *at}
		}
		source = clone(kept.config)
	} else {
		if state := m.state(ctx); state != off {
			return nil, wrongState(state, off) // a real host copies a running disk; the twin says that it does not
		}
		ctx.WithLock(m.VirtualMachine, func() { source = clone(*m.Config) })
	}
	spec, origins := m.cloneSpec(req, source, linked)
	created, fault := m.t.create(ctx, parent, &types.CreateVM_Task{Config: *spec, Pool: *place.Pool, Host: place.Host})
	if fault != nil {
		return nil, fault
	}
	copied := &machine{VirtualMachine: m.t.machine(created.(types.ManagedObjectReference).Value), t: m.t}
	if fault := m.inherit(ctx, copied, req, origins); fault != nil {
		_, _ = nested(ctx, copied.VirtualMachine.DestroyTask(ctx, &types.Destroy_Task{This: copied.Self}))
		return nil, fault
	}
	if req.Spec.Template {
		_ = copied.MarkAsTemplate(&types.MarkAsTemplate{This: copied.Self})
	}
	event := &types.VmClonedEvent{SourceVm: types.VmEventArgument{Vm: m.Self}}
	event.VmEvent, event.SourceVm.Name = m.t.about(copied.VirtualMachine), m.Name
	m.t.post(ctx, event)
	if req.Spec.PowerOn {
		if _, fault := copied.powerOn(ctx); fault != nil {
			return nil, fault
		}
	}
	return created, nil
}

// place completes where a clone goes: the source's pool and host unless the client says otherwise.
func (m *machine) place(location *types.VirtualMachineRelocateSpec) (*types.VirtualMachineRelocateSpec, types.BaseMethodFault) {
	place := *location
	if place.Pool == nil {
		if place.Pool = m.ResourcePool; place.Pool == nil {
			return nil, &types.InvalidArgument{InvalidProperty: "spec.location.pool"}
		}
	}
	if place.Host == nil {
		place.Host = m.Runtime.Host
	}
	if place.Datastore != nil {
		if _, ok := m.t.registry().Get(*place.Datastore).(*simulator.Datastore); !ok {
			return nil, &types.ManagedObjectNotFound{Obj: *place.Datastore}
		}
	}
	return &place, nil
}

// cloneSpec is the configuration of a clone: the source's, then what the client wants otherwise. The second value says
// by device key which file of the source a disk starts from.
func (m *machine) cloneSpec(
	req *types.CloneVM_Task, source types.VirtualMachineConfigInfo, linked bool,
) (*types.VirtualMachineConfigSpec, map[int32]string) {
	spec := &types.VirtualMachineConfigSpec{}
	if req.Spec.Config != nil {
		*spec = *req.Spec.Config
	}
	wanted := append(append([]types.BaseVirtualDeviceConfigSpec{}, req.Spec.Location.DeviceChange...), spec.DeviceChange...)
	spec.Name = req.Name
	spec.Files = &types.VirtualMachineFileInfo{VmPathName: "[" + m.t.settings.Datastore + "] " + req.Name + "/" + req.Name + ".vmx"}
	inherit(&spec.NumCPUs, source.Hardware.NumCPU)
	inherit(&spec.NumCoresPerSocket, source.Hardware.NumCoresPerSocket)
	inherit(&spec.MemoryMB, int64(source.Hardware.MemoryMB))
	inherit(&spec.Version, source.Version)
	inherit(&spec.GuestId, source.GuestId)
	inherit(&spec.Firmware, source.Firmware)
	inherit(&spec.Annotation, source.Annotation)
	inherit(&spec.CpuHotAddEnabled, source.CpuHotAddEnabled)
	inherit(&spec.MemoryHotAddEnabled, source.MemoryHotAddEnabled)
	for _, option := range source.ExtraConfig {
		o := option.GetOptionValue()
		if o.Key != "govcsim" && extra(spec.ExtraConfig, o.Key) == "" {
			spec.ExtraConfig = append(spec.ExtraConfig, o)
		}
	}
	origins := map[int32]string{}
	spec.DeviceChange = nil
	for _, device := range changed(source.Hardware.Device, wanted) {
		change := &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: device}
		if d, ok := device.(*types.VirtualDisk); ok {
			change.FileOperation = types.VirtualDeviceConfigSpecFileOperationCreate
			if b, ok := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok && b.FileName != "" && d.Key > 0 {
				origins[d.Key] = b.FileName
				fresh := &types.VirtualDiskFlatVer2BackingInfo{DiskMode: b.DiskMode, ThinProvisioned: b.ThinProvisioned}
				if linked {
					fresh.Parent = &types.VirtualDiskFlatVer2BackingInfo{DiskMode: b.DiskMode}
					fresh.Parent.FileName = b.FileName
				}
				d.Backing = fresh
			}
		}
		spec.DeviceChange = append(spec.DeviceChange, change)
	}
	return spec, origins
}

func inherit[T comparable](value *T, source T) {
	var empty T
	if *value == empty {
		*value = source
	}
}

// changed are the devices after the client's changes; those that every machine has are left to the simulator.
func changed(devices []types.BaseVirtualDevice, wanted []types.BaseVirtualDeviceConfigSpec) []types.BaseVirtualDevice {
	standard := object.VirtualDeviceList(esx.VirtualDevice)
	kept := object.VirtualDeviceList{}
	for _, device := range devices {
		if known := standard.FindByKey(device.GetVirtualDevice().Key); known != nil {
			continue
		}
		if card, ok := device.(types.BaseVirtualEthernetCard); ok {
			if c := card.GetVirtualEthernetCard(); c.AddressType != string(types.VirtualEthernetCardMacTypeManual) {
				c.MacAddress = "" // a clone gets an address of its own
			}
		}
		kept = append(kept, device)
	}
	for _, change := range wanted {
		c := change.GetVirtualDeviceConfigSpec()
		rest := object.VirtualDeviceList{}
		for _, device := range kept {
			if device.GetVirtualDevice().Key != c.Device.GetVirtualDevice().Key {
				rest = append(rest, device)
			}
		}
		switch c.Operation {
		case types.VirtualDeviceConfigSpecOperationRemove:
			kept = rest
		case types.VirtualDeviceConfigSpecOperationEdit:
			kept = append(rest, c.Device)
		default:
			kept = append(kept, c.Device)
		}
	}
	return kept
}

// inherit gives a clone's disks the source's content.
func (m *machine) inherit(ctx *simulator.Context, copied *machine, req *types.CloneVM_Task, origins map[int32]string) types.BaseMethodFault {
	disks := map[string]string{}
	ctx.WithLock(copied.VirtualMachine, func() {
		for _, device := range copied.Config.Hardware.Device {
			d, ok := device.(*types.VirtualDisk)
			if origin := origins[device.GetVirtualDevice().Key]; ok && origin != "" {
				disks[m.t.file(fileOf(d))] = m.t.file(origin)
			}
		}
	})
	if len(disks) == 0 {
		return nil
	}
	body := request{Source: m.Self.Value, Disks: disks}
	if req.Spec.Snapshot != nil {
		body.Snapshot = req.Spec.Snapshot.Value
	}
	body.Hardware = m.hardware(ctx)
	return copied.ask(ctx, "clone", body, nil)
}
