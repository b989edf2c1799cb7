package main

import (
	"os"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// saved is what the simulator does not keep of a snapshot: the machine as it was then.
type saved struct {
	config types.VirtualMachineConfigInfo
	state  types.VirtualMachinePowerState // poweredOn only where memory was kept
	files  []string                       // of its data and memory, as paths on datastores
}

// CreateSnapshotTask remembers the machine.
func (m *machine) CreateSnapshotTask(ctx *simulator.Context, req *types.CreateSnapshot_Task) soap.HasFault {
	spec := &types.CreateSnapshotEx_Task{Name: req.Name, Description: req.Description, Memory: req.Memory}
	ref, fault := m.snapshotTask(ctx, spec, req.Quiesce)
	return &methods.CreateSnapshot_TaskBody{Fault_: fault, Res: &types.CreateSnapshot_TaskResponse{Returnval: ref}}
}

// CreateSnapshotExTask remembers the machine.
func (m *machine) CreateSnapshotExTask(ctx *simulator.Context, req *types.CreateSnapshotEx_Task) soap.HasFault {
	ref, fault := m.snapshotTask(ctx, req, req.QuiesceSpec != nil)
	return &methods.CreateSnapshotEx_TaskBody{Fault_: fault, Res: &types.CreateSnapshotEx_TaskResponse{Returnval: ref}}
}

// snapshotTask asks the engine first; a machine that is off has no memory to keep, and real hosts then keep none.
func (m *machine) snapshotTask(
	ctx *simulator.Context, req *types.CreateSnapshotEx_Task, quiesce bool,
) (types.ManagedObjectReference, *soap.Fault) {
	return m.t.exclusive(ctx, m.VirtualMachine, "createSnapshot",
		func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			if req.Name == "" {
				return nil, &types.InvalidName{Name: req.Name}
			}
			state := m.state(ctx)
			if state == suspended {
				return nil, &types.InvalidPowerState{ExistingState: state, RequestedState: on}
			}
			memory := req.Memory && state == on
			result, fault := nested(ctx, m.VirtualMachine.CreateSnapshotExTask(ctx, req))
			if fault != nil {
				return nil, fault
			}
			ref := result.(types.ManagedObjectReference)
			kept := &saved{state: off}
			if memory {
				kept.state = on
			}
			ctx.WithLock(m.VirtualMachine, func() { kept.config, kept.files = clone(*m.Config), m.filesOf(ref) })
			body := request{Snapshot: ref.Value, Memory: memory, Quiesce: quiesce && state == on}
			fault = m.ask(ctx, "snapshot", body, nil)
			if silent, ok := fault.(*types.ToolsUnavailable); ok {
				fault = &types.FilesystemQuiesceFault{SnapshotFault: types.SnapshotFault{VimFault: silent.VimFault}}
			}
			if fault != nil {
				remove := &types.RemoveSnapshot_Task{This: ref}
				object := ctx.Map.Get(ref).(*simulator.VirtualMachineSnapshot)
				_, _ = nested(ctx, object.RemoveSnapshotTask(ctx, remove))
				return nil, fault
			}
			m.t.mu.Lock()
			m.t.snapshots[ref] = kept
			m.t.mu.Unlock()
			ctx.WithLock(m.VirtualMachine, func() {
				ctx.Map.Get(ref).(*simulator.VirtualMachineSnapshot).Config = clone(kept.config)
				if item := findSnapshot(m.Snapshot.RootSnapshotList, ref); item != nil {
					item.State = kept.state
				}
				ctx.Update(m.VirtualMachine, []types.PropertyChange{
					{Name: "snapshot.rootSnapshotList", Val: m.Snapshot.RootSnapshotList},
				})
			})
			return ref, nil
		})
}

func findSnapshot(
	tree []types.VirtualMachineSnapshotTree, ref types.ManagedObjectReference,
) *types.VirtualMachineSnapshotTree {
	for i := range tree {
		if tree[i].Snapshot == ref {
			return &tree[i]
		}
		if found := findSnapshot(tree[i].ChildSnapshotList, ref); found != nil {
			return found
		}
	}
	return nil
}

// RevertToCurrentSnapshotTask goes back to the one that the machine stands on.
func (m *machine) RevertToCurrentSnapshotTask(
	ctx *simulator.Context, _ *types.RevertToCurrentSnapshot_Task,
) soap.HasFault {
	body := &methods.RevertToCurrentSnapshot_TaskBody{}
	if m.Snapshot == nil || m.Snapshot.CurrentSnapshot == nil {
		body.Fault_ = simulator.Fault("the machine has no snapshot", &types.NotFound{})
		return body
	}
	ref, fault := m.t.revert(ctx, m, *m.Snapshot.CurrentSnapshot)
	body.Fault_, body.Res = fault, &types.RevertToCurrentSnapshot_TaskResponse{Returnval: ref}
	return body
}

// RemoveAllSnapshotsTask forgets all of them.
func (m *machine) RemoveAllSnapshotsTask(ctx *simulator.Context, req *types.RemoveAllSnapshots_Task) soap.HasFault {
	ref, fault := m.t.exclusive(ctx, m.VirtualMachine, "removeAllSnapshots",
		func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			var all []types.ManagedObjectReference
			ctx.WithLock(m.VirtualMachine, func() {
				if m.Snapshot != nil {
					all = flat(m.Snapshot.RootSnapshotList)
				}
			})
			for _, ref := range all {
				if fault := m.forget(ctx, ref); fault != nil {
					return nil, fault
				}
			}
			return nested(ctx, m.VirtualMachine.RemoveAllSnapshotsTask(ctx, req))
		})
	return &methods.RemoveAllSnapshots_TaskBody{Fault_: fault, Res: &types.RemoveAllSnapshots_TaskResponse{Returnval: ref}}
}

func flat(tree []types.VirtualMachineSnapshotTree) (all []types.ManagedObjectReference) {
	for _, item := range tree {
		all = append(append(all, item.Snapshot), flat(item.ChildSnapshotList)...)
	}
	return all
}

func (m *machine) forget(ctx *simulator.Context, ref types.ManagedObjectReference) types.BaseMethodFault {
	if fault := m.ask(ctx, "delete_snapshot", request{Snapshot: ref.Value}, nil); fault != nil {
		return fault
	}
	m.t.mu.Lock()
	kept := m.t.snapshots[ref]
	delete(m.t.snapshots, ref)
	m.t.mu.Unlock()
	// The simulator finds these files by keys that it deals anew at each refresh, and would delete a disk in their place.
	ctx.WithLock(m.VirtualMachine, func() {
		// Nor can it tell what a machine stands on whose present snapshot goes and had nothing above it.
		if tree := m.Snapshot; tree != nil && tree.CurrentSnapshot != nil && *tree.CurrentSnapshot == ref && isRoot(tree, ref) {
			tree.CurrentSnapshot = nil
		}
		for i := range m.LayoutEx.Snapshot {
			if m.LayoutEx.Snapshot[i].Key == ref {
				m.LayoutEx.Snapshot[i].DataKey, m.LayoutEx.Snapshot[i].MemoryKey = -1, -1
			}
		}
	})
	if kept != nil {
		for _, file := range kept.files {
			_ = os.Remove(m.t.file(file))
		}
	}
	return nil
}

func isRoot(tree *types.VirtualMachineSnapshotInfo, ref types.ManagedObjectReference) bool {
	for _, item := range tree.RootSnapshotList {
		if item.Snapshot == ref {
			return true
		}
	}
	return false
}

// filesOf are the files that hold a snapshot's data and memory, while the keys of its layout are still those of now.
func (m *machine) filesOf(ref types.ManagedObjectReference) (names []string) {
	for _, layout := range m.LayoutEx.Snapshot {
		for _, file := range m.LayoutEx.File {
			if layout.Key == ref && (file.Key == layout.DataKey || file.Key == layout.MemoryKey) {
				names = append(names, file.Name)
			}
		}
	}
	return names
}

// snapshot is a snapshot that the engine keeps too.
type snapshot struct {
	*simulator.VirtualMachineSnapshot
	t *twin
}

func (s *snapshot) machine(ctx *simulator.Context) *machine {
	vm, ok := ctx.Map.Get(s.Vm).(*simulator.VirtualMachine)
	if !ok {
		return nil
	}
	return &machine{VirtualMachine: vm, t: s.t}
}

// RevertToSnapshotTask makes the machine again what it was: configuration, disks, and memory where it was kept.
func (s *snapshot) RevertToSnapshotTask(ctx *simulator.Context, _ *types.RevertToSnapshot_Task) soap.HasFault {
	body := &methods.RevertToSnapshot_TaskBody{}
	owner := s.machine(ctx)
	if owner == nil {
		body.Fault_ = simulator.Fault("", &types.ManagedObjectNotFound{Obj: s.Vm})
		return body
	}
	ref, fault := s.t.revert(ctx, owner, s.Self)
	body.Fault_, body.Res = fault, &types.RevertToSnapshot_TaskResponse{Returnval: ref}
	return body
}

func (t *twin) revert(
	ctx *simulator.Context, m *machine, to types.ManagedObjectReference,
) (types.ManagedObjectReference, *soap.Fault) {
	return t.exclusive(ctx, m.VirtualMachine, "revertToSnapshot",
		func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			t.mu.Lock()
			kept := t.snapshots[to]
			t.mu.Unlock()
			if kept == nil {
				return nil, &types.ManagedObjectNotFound{Obj: to}
			}
			current := m.hardware(ctx)
			if fault := m.ask(ctx, "revert", request{Snapshot: to.Value, Hardware: current}, nil); fault != nil {
				return nil, fault
			}
			show := func() {
				changes := t.reconfigured(m.VirtualMachine, clone(kept.config))
				ctx.Update(m.VirtualMachine, append(changes, types.PropertyChange{Name: "snapshot.currentSnapshot", Val: to}))
			}
			// A machine that runs has its cables as they were then; one that is off is connected to nothing.
			if kept.state == on {
				t.powered(ctx, m.VirtualMachine, on, true)
				ctx.WithLock(m.VirtualMachine, show)
			} else {
				ctx.WithLock(m.VirtualMachine, show)
				t.powered(ctx, m.VirtualMachine, off, false)
			}
			// What the guest may read of the host is as it was then, too.
			return nil, m.ask(ctx, "guestinfo", request{}, nil)
		})
}

// reconfigured are the changes that turn a machine's configuration into another one, its name and identity excepted.
func (t *twin) reconfigured(vm *simulator.VirtualMachine, config types.VirtualMachineConfigInfo) []types.PropertyChange {
	config.Name, config.Uuid, config.InstanceUuid = vm.Config.Name, vm.Config.Uuid, vm.Config.InstanceUuid
	networks := []types.ManagedObjectReference{}
	disks, nics := int32(0), int32(0)
	for _, device := range config.Hardware.Device {
		switch d := device.(type) {
		case *types.VirtualDisk:
			disks++
		case types.BaseVirtualEthernetCard:
			nics++
			if group := t.portGroup(networkOf(d.GetVirtualEthernetCard())); group != nil {
				networks = append(networks, group.Reference())
			}
		}
	}
	summary := &vm.Summary.Config
	summary.NumCpu, summary.MemorySizeMB = config.Hardware.NumCPU, config.Hardware.MemoryMB
	summary.NumVirtualDisks, summary.NumEthernetCards = disks, nics
	summary.Annotation = config.Annotation
	return []types.PropertyChange{
		{Name: "config", Val: &config},
		{Name: "network", Val: networks},
		{Name: "summary.config", Val: *summary},
	}
}

// RemoveSnapshotTask forgets it, and its children when asked.
func (s *snapshot) RemoveSnapshotTask(ctx *simulator.Context, req *types.RemoveSnapshot_Task) soap.HasFault {
	body := &methods.RemoveSnapshot_TaskBody{}
	owner := s.machine(ctx)
	if owner == nil {
		body.Fault_ = simulator.Fault("", &types.ManagedObjectNotFound{Obj: s.Vm})
		return body
	}
	ref, fault := s.t.exclusive(ctx, owner.VirtualMachine, "removeSnapshot",
		func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			doomed := []types.ManagedObjectReference{s.Self}
			ctx.WithLock(owner.VirtualMachine, func() {
				if item := findSnapshot(owner.Snapshot.RootSnapshotList, s.Self); item != nil && req.RemoveChildren {
					doomed = append(doomed, flat(item.ChildSnapshotList)...)
				}
			})
			for _, ref := range doomed {
				if fault := owner.forget(ctx, ref); fault != nil {
					return nil, fault
				}
			}
			return nested(ctx, s.VirtualMachineSnapshot.RemoveSnapshotTask(ctx, req))
		})
	body.Fault_, body.Res = fault, &types.RemoveSnapshot_TaskResponse{Returnval: ref}
	return body
}
