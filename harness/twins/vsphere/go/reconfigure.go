package main

import (
	"os"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// ReconfigVMTask changes the configuration, and the machine with it; when either refuses, both stay as they were.
func (m *machine) ReconfigVMTask(ctx *simulator.Context, req *types.ReconfigVM_Task) soap.HasFault {
	ref, fault := m.t.exclusive(ctx, m.VirtualMachine, "reconfigVm",
		func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			if fault := m.raise(ctx, "ReconfigVM_Task"); fault != nil {
				return nil, fault
			}
			return nil, m.reconfigure(ctx, req)
		})
	return &methods.ReconfigVM_TaskBody{Fault_: fault, Res: &types.ReconfigVM_TaskResponse{Returnval: ref}}
}

func (m *machine) reconfigure(ctx *simulator.Context, req *types.ReconfigVM_Task) types.BaseMethodFault {
	var before types.VirtualMachineConfigInfo
	var fault types.BaseMethodFault
	var state types.VirtualMachinePowerState
	ctx.WithLock(m.VirtualMachine, func() {
		before, state = clone(*m.Config), m.Runtime.PowerState
		if fault = m.t.mayChange(m.VirtualMachine, &req.Spec); fault == nil {
			fault = m.renames(ctx, &req.Spec)
		}
	})
	if fault != nil {
		return fault
	}
	m.complete(&req.Spec, before)
	doomed := m.destroyed(&req.Spec, before)
	if _, fault = nested(ctx, m.VirtualMachine.ReconfigVMTask(ctx, req)); fault == nil {
		ctx.WithLock(m.VirtualMachine, func() { m.t.connect(m.VirtualMachine, &req.Spec, state) })
		if state == on || len(doomed) > 0 {
			fault = m.ask(ctx, "reconfigure", request{}, nil)
		}
	}
	if fault == nil && len(guestinfo(req.Spec.ExtraConfig)) > 0 {
		fault = m.ask(ctx, "guestinfo", request{}, nil)
	}
	ctx.WithLock(m.VirtualMachine, func() {
		config := clone(*m.Config)
		if fault != nil {
			config = before
		}
		ctx.Update(m.VirtualMachine, m.t.reconfigured(m.VirtualMachine, config))
	})
	if fault != nil {
		return fault
	}
	for _, file := range doomed {
		_ = m.t.engine.call("delete_disk", request{File: file}, nil)
		_ = os.Remove(file)
		_ = os.Remove(simulator.VirtualDiskBackingFileName(file))
	}
	m.t.mu.Lock()
	view := m.t.tools[m.Self]
	m.t.mu.Unlock()
	m.t.showTools(ctx, m.VirtualMachine, view) // the simulator invents entries of guest.net for new NICs
	return nil
}

func (m *machine) renames(ctx *simulator.Context, spec *types.VirtualMachineConfigSpec) types.BaseMethodFault {
	if spec.Name == "" || spec.Name == m.Name {
		return nil
	}
	parent, ok := ctx.Map.Get(*m.Parent).(*simulator.Folder)
	if !ok {
		return nil
	}
	return duplicate(ctx, parent, spec.Name)
}

// complete fills in what clients leave out of an edit and hosts keep as it was.
func (m *machine) complete(spec *types.VirtualMachineConfigSpec, before types.VirtualMachineConfigInfo) {
	devices := object.VirtualDeviceList(before.Hardware.Device)
	for _, change := range spec.DeviceChange {
		c := change.GetVirtualDeviceConfigSpec()
		if c.Operation != types.VirtualDeviceConfigSpecOperationEdit {
			continue
		}
		known := devices.FindByKey(c.Device.GetVirtualDevice().Key)
		if known == nil {
			continue
		}
		wanted, had := c.Device.GetVirtualDevice(), known.GetVirtualDevice()
		if wanted.Backing == nil {
			wanted.Backing = had.Backing
		}
		if wanted.ControllerKey == 0 {
			wanted.ControllerKey = had.ControllerKey
		}
		if wanted.UnitNumber == nil {
			wanted.UnitNumber = had.UnitNumber
		}
		if wanted.Connectable == nil {
			wanted.Connectable = had.Connectable
		}
		card, isCard := c.Device.(types.BaseVirtualEthernetCard)
		old, wasCard := known.(types.BaseVirtualEthernetCard)
		if isCard && wasCard && card.GetVirtualEthernetCard().MacAddress == "" {
			card.GetVirtualEthernetCard().MacAddress = old.GetVirtualEthernetCard().MacAddress
			card.GetVirtualEthernetCard().AddressType = old.GetVirtualEthernetCard().AddressType
		}
	}
}

// destroyed takes the deletion of files out of the simulator's hands: the engine lets go of a disk first.
func (m *machine) destroyed(spec *types.VirtualMachineConfigSpec, before types.VirtualMachineConfigInfo) (files []string) {
	devices := object.VirtualDeviceList(before.Hardware.Device)
	for _, change := range spec.DeviceChange {
		c := change.GetVirtualDeviceConfigSpec()
		if c.Operation != types.VirtualDeviceConfigSpecOperationRemove ||
			c.FileOperation != types.VirtualDeviceConfigSpecFileOperationDestroy {
			continue
		}
		if known := devices.FindByKey(c.Device.GetVirtualDevice().Key); known != nil && m.t.file(fileOf(known)) != "" {
			files = append(files, m.t.file(fileOf(known)))
		}
		c.FileOperation = ""
	}
	return files
}

// connect honours what a client said of a new or changed device's cable while the machine runs.
func (t *twin) connect(
	vm *simulator.VirtualMachine, spec *types.VirtualMachineConfigSpec, state types.VirtualMachinePowerState,
) {
	for _, change := range spec.DeviceChange {
		c := change.GetVirtualDeviceConfigSpec()
		link := c.Device.GetVirtualDevice().Connectable
		if link == nil || c.Operation == types.VirtualDeviceConfigSpecOperationRemove {
			continue
		}
		if c.Operation == types.VirtualDeviceConfigSpecOperationAdd && state == on {
			link.Connected = link.Connected || link.StartConnected
		}
	}
}

func guestinfo(options []types.BaseOptionValue) map[string]string {
	values := map[string]string{}
	for _, option := range options {
		o := option.GetOptionValue()
		if text, ok := o.Value.(string); ok && strings.HasPrefix(o.Key, "guestinfo.") {
			values[o.Key] = text
		}
	}
	return values
}
