package main

import (
	"bytes"
	"os"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	on        = types.VirtualMachinePowerStatePoweredOn
	off       = types.VirtualMachinePowerStatePoweredOff
	suspended = types.VirtualMachinePowerStateSuspended
)

// machine is a virtual machine that runs: the simulator's inventory, the engine's power.
type machine struct {
	*simulator.VirtualMachine
	t *twin
}

// state reads the power state under the machine's lock.
func (m *machine) state(ctx *simulator.Context) (state types.VirtualMachinePowerState) {
	ctx.WithLock(m.VirtualMachine, func() { state = m.Runtime.PowerState })
	return state
}

// hardware reads the configuration under the machine's lock.
func (m *machine) hardware(ctx *simulator.Context) (h *hardware) {
	ctx.WithLock(m.VirtualMachine, func() { h = m.t.describe(m.VirtualMachine, m.Runtime.PowerState != on) })
	return h
}

// ask calls the engine about this machine, in whose configuration it may still have to be told of.
func (m *machine) ask(ctx *simulator.Context, verb string, body request, into any) types.BaseMethodFault {
	body.Machine = m.Self.Value
	if body.Hardware == nil {
		body.Hardware = m.hardware(ctx)
	}
	return asFault(m.t.engine.call(verb, body, into), m.state(ctx))
}

func wrongState(existing, requested types.VirtualMachinePowerState) types.BaseMethodFault {
	return &types.InvalidPowerState{ExistingState: existing, RequestedState: requested}
}

// PowerOnVMTask starts the machine, or continues it; the task ends when its vCPUs run.
func (m *machine) PowerOnVMTask(ctx *simulator.Context, _ *types.PowerOnVM_Task) soap.HasFault {
	body := &methods.PowerOnVM_TaskBody{}
	if m.Config.Template {
		body.Fault_ = simulator.Fault("cannot power on a template", &types.InvalidState{})
		return body
	}
	ref, fault := m.t.exclusive(ctx, m.VirtualMachine, "powerOn", m.powerOn)
	body.Fault_, body.Res = fault, &types.PowerOnVM_TaskResponse{Returnval: ref}
	return body
}

func (m *machine) powerOn(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
	before := m.state(ctx)
	if before == on {
		return nil, wrongState(before, off)
	}
	if host, ok := ctx.Map.Get(*m.Runtime.Host).(*simulator.HostSystem); ok && host.Runtime.InMaintenanceMode {
		return nil, &types.InvalidState{}
	}
	if missing := m.missingISO(ctx); missing != "" {
		return nil, &types.FileNotFound{FileFault: types.FileFault{File: missing}}
	}
	m.t.post(ctx, &types.VmStartingEvent{VmEvent: m.t.about(m.VirtualMachine)})
	if fault := m.raise(ctx, "PowerOnVM_Task"); fault != nil {
		return nil, fault
	}
	if fault := m.ask(ctx, "power_on", request{}, nil); fault != nil {
		event := &types.VmFailedToPowerOnEvent{VmEvent: m.t.about(m.VirtualMachine)}
		event.Reason = types.LocalizedMethodFault{Fault: fault, LocalizedMessage: sentence(fault)}
		m.t.post(ctx, event)
		return nil, fault
	}
	m.t.powered(ctx, m.VirtualMachine, on, before == off)
	m.t.post(ctx, &types.VmPoweredOnEvent{VmEvent: m.t.about(m.VirtualMachine)})
	return nil, nil
}

func (m *machine) missingISO(ctx *simulator.Context) (missing string) {
	ctx.WithLock(m.VirtualMachine, func() {
		for _, device := range m.Config.Hardware.Device {
			drive, ok := device.(*types.VirtualCdrom)
			if !ok || (drive.Connectable != nil && !drive.Connectable.StartConnected) {
				continue
			}
			if b, ok := drive.Backing.(*types.VirtualCdromIsoBackingInfo); ok && !exists(m.t.file(b.FileName)) {
				missing = b.FileName
			}
		}
	})
	return missing
}

// powered shows a power state, as the simulator would after its own power task.
func (t *twin) powered(ctx *simulator.Context, vm *simulator.VirtualMachine, state types.VirtualMachinePowerState, booted bool) {
	ctx.WithLock(vm, func() {
		devices := clone(vm.Config.Hardware.Device)
		for _, device := range devices {
			if link := device.GetVirtualDevice().Connectable; link != nil {
				link.Connected = state == on && link.StartConnected
			}
		}
		changes := []types.PropertyChange{
			{Name: "runtime.powerState", Val: state},
			{Name: "summary.runtime.powerState", Val: state},
			{Name: "config.hardware.device", Val: devices},
		}
		if booted {
			now := time.Now()
			changes = append(changes,
				types.PropertyChange{Name: "runtime.bootTime", Val: now},
				types.PropertyChange{Name: "summary.runtime.bootTime", Val: now})
		} else if state != on {
			changes = append(changes,
				types.PropertyChange{Name: "runtime.bootTime", Val: nil},
				types.PropertyChange{Name: "summary.runtime.bootTime", Val: nil})
		}
		ctx.Update(vm, changes)
	})
	t.showTools(ctx, vm, toolsView{}) // whatever happened, the tools have to speak up anew
}

// PowerOffVMTask cuts the power.
func (m *machine) PowerOffVMTask(ctx *simulator.Context, _ *types.PowerOffVM_Task) soap.HasFault {
	ref, fault := m.t.exclusive(ctx, m.VirtualMachine, "powerOff",
		func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			if before := m.state(ctx); before == off {
				return nil, wrongState(before, on)
			}
			m.t.post(ctx, &types.VmStoppingEvent{VmEvent: m.t.about(m.VirtualMachine)})
			if fault := m.ask(ctx, "power_off", request{}, nil); fault != nil {
				return nil, fault
			}
			m.t.powered(ctx, m.VirtualMachine, off, false)
			m.t.post(ctx, &types.VmPoweredOffEvent{VmEvent: m.t.about(m.VirtualMachine)})
			return nil, nil
		})
	return &methods.PowerOffVM_TaskBody{Fault_: fault, Res: &types.PowerOffVM_TaskResponse{Returnval: ref}}
}

// SuspendVMTask puts the machine's memory on disk.
func (m *machine) SuspendVMTask(ctx *simulator.Context, _ *types.SuspendVM_Task) soap.HasFault {
	ref, fault := m.t.exclusive(ctx, m.VirtualMachine, "suspend", m.suspend)
	return &methods.SuspendVM_TaskBody{Fault_: fault, Res: &types.SuspendVM_TaskResponse{Returnval: ref}}
}

func (m *machine) suspend(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
	if before := m.state(ctx); before != on {
		return nil, wrongState(before, on)
	}
	m.t.post(ctx, &types.VmSuspendingEvent{VmEvent: m.t.about(m.VirtualMachine)})
	if fault := m.ask(ctx, "suspend", request{}, nil); fault != nil {
		return nil, fault
	}
	m.t.powered(ctx, m.VirtualMachine, suspended, false)
	m.t.post(ctx, &types.VmSuspendedEvent{VmEvent: m.t.about(m.VirtualMachine)})
	return nil, nil
}

// ResetVMTask presses the reset button; the machine stays powered on.
func (m *machine) ResetVMTask(ctx *simulator.Context, _ *types.ResetVM_Task) soap.HasFault {
	ref, fault := m.t.exclusive(ctx, m.VirtualMachine, "reset",
		func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			if before := m.state(ctx); before != on {
				return nil, wrongState(before, on)
			}
			m.t.post(ctx, &types.VmResettingEvent{VmEvent: m.t.about(m.VirtualMachine)})
			if fault := m.ask(ctx, "reset", request{}, nil); fault != nil {
				return nil, fault
			}
			m.t.rebooted(ctx, m.VirtualMachine)
			return nil, nil
		})
	return &methods.ResetVM_TaskBody{Fault_: fault, Res: &types.ResetVM_TaskResponse{Returnval: ref}}
}

// rebooted shows that a guest started over.
func (t *twin) rebooted(ctx *simulator.Context, vm *simulator.VirtualMachine) {
	ctx.WithLock(vm, func() {
		now := time.Now()
		ctx.Update(vm, []types.PropertyChange{
			{Name: "runtime.bootTime", Val: now}, {Name: "summary.runtime.bootTime", Val: now},
		})
	})
	t.showTools(ctx, vm, toolsView{})
}

// clone copies a value of the API so deeply that nothing is shared: the simulator changes devices in place.
func clone[T any](value T) T {
	var buffer bytes.Buffer
	holder := struct{ Value T }{value}
	if err := types.NewJSONEncoder(&buffer).Encode(holder); err != nil {
		panic(err)
	}
	var copied struct{ Value T }
	if err := types.NewJSONDecoder(&buffer).Decode(&copied); err != nil {
		panic(err)
	}
	return copied.Value
}

func exists(file string) bool {
	if file == "" {
		return false
	}
	info, err := os.Stat(file)
	return err == nil && !info.IsDir()
}
