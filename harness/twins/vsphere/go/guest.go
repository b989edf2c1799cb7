package main

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// toolsView is what the engine's model of the guest's tools said last.
type toolsView struct {
	Running   bool                `json:"running"`
	Version   string              `json:"version"`
	Hostname  string              `json:"hostname"`
	Addresses map[string][]string `json:"addresses"` // by MAC
	OSID      string              `json:"os_id"`
	OSName    string              `json:"os_name"`
	Kernel    string              `json:"kernel"`
	Guestinfo map[string]string   `json:"guestinfo"`
}

// showTools writes guest.*: from the tools' view alone, and nothing where they are silent.
func (t *twin) showTools(ctx *simulator.Context, vm *simulator.VirtualMachine, view toolsView) {
	t.mu.Lock()
	t.tools[vm.Self] = view
	t.mu.Unlock()
	ctx.WithLock(vm, func() {
		power := vm.Runtime.PowerState
		if power != on {
			view = toolsView{}
		}
		running, status := "guestToolsNotRunning", types.VirtualMachineToolsStatusToolsNotRunning
		heartbeat, state := types.ManagedEntityStatusGray, "notRunning"
		if view.Running {
			running, status = "guestToolsRunning", types.VirtualMachineToolsStatusToolsOk
			heartbeat = types.ManagedEntityStatusGreen
			state = "running"
		}
		nets, first := guestNets(vm, view)
		version := numbered(view.Version)
		ctx.Update(vm, []types.PropertyChange{
			{Name: "guest.toolsRunningStatus", Val: running},
			{Name: "guest.toolsStatus", Val: status},
			{Name: "guest.toolsVersion", Val: version},
			{Name: "guest.toolsVersionStatus2", Val: "guestToolsUnmanaged"},
			{Name: "guest.guestState", Val: state},
			{Name: "guest.guestFullName", Val: view.OSName},
			{Name: "guest.hostName", Val: view.Hostname},
			{Name: "guest.ipAddress", Val: first},
			{Name: "guest.net", Val: nets},
			{Name: "guestHeartbeatStatus", Val: heartbeat},
			{Name: "summary.quickStats.guestHeartbeatStatus", Val: heartbeat},
			{Name: "summary.guest.hostName", Val: view.Hostname},
			{Name: "summary.guest.ipAddress", Val: first},
			{Name: "summary.guest.toolsRunningStatus", Val: running},
			{Name: "summary.guest.toolsStatus", Val: status},
		})
		t.showGuestinfo(ctx, vm, view.Guestinfo)
	})
}

// showGuestinfo puts what the guest said into ExtraConfig, where clients of vSphere read it.
func (t *twin) showGuestinfo(ctx *simulator.Context, vm *simulator.VirtualMachine, values map[string]string) {
	changed := false
	options := append([]types.BaseOptionValue{}, vm.Config.ExtraConfig...)
	for key, value := range values {
		if !strings.HasPrefix(key, "guestinfo.") {
			key = "guestinfo." + key
		}
		if extra(options, key) == value {
			continue
		}
		changed = true
		kept := options[:0:0]
		for _, option := range options {
			if option.GetOptionValue().Key != key {
				kept = append(kept, option)
			}
		}
		options = append(kept, &types.OptionValue{Key: key, Value: value})
	}
	if changed {
		ctx.Update(vm, []types.PropertyChange{{Name: "config.extraConfig", Val: options}})
	}
}

// guestNets lists the guest's NICs as its tools see them, and the first address that is not link-local.
func guestNets(vm *simulator.VirtualMachine, view toolsView) ([]types.GuestNicInfo, string) {
	nets, first := []types.GuestNicInfo{}, ""
	for _, device := range vm.Config.Hardware.Device {
		card, ok := device.(types.BaseVirtualEthernetCard)
		if !ok || !view.Running {
			continue
		}
		c := card.GetVirtualEthernetCard()
		addresses, known := view.Addresses[strings.ToLower(c.MacAddress)]
		if !known {
			continue
		}
		connected := c.Connectable == nil || c.Connectable.Connected
		nets = append(nets, types.GuestNicInfo{
			Network: networkOf(c), MacAddress: strings.ToLower(c.MacAddress), IpAddress: addresses,
			Connected: connected, DeviceConfigId: c.Key,
		})
		for _, address := range addresses {
			if first == "" && !strings.HasPrefix(address, "fe80") {
				first = address
			}
		}
	}
	return nets, first
}

// numbered is a version as toolsVersion has it: 12.2.0 is 12352 (major * 1024 + minor * 32 + patch).
func numbered(version string) string {
	if version == "" {
		return "0"
	}
	parts := [3]int{}
	at := 0
	for _, letter := range version {
		switch {
		case letter >= '0' && letter <= '9':
			parts[at] = parts[at]*10 + int(letter-'0')
		case letter == '.' && at < 2:
			at++
		case letter == ':': // an epoch of a Debian version
			parts, at = [3]int{}, 0
		default:
			return say("%d", parts[0]*1024+parts[1]*32+parts[2])
		}
	}
	return say("%d", parts[0]*1024+parts[1]*32+parts[2])
}

// guestVerb asks the guest's tools for something; a vCenter answers at once and does not wait for the guest.
func (m *machine) guestVerb(ctx *simulator.Context, verb string, event types.BaseEvent) *soap.Fault {
	if existing := m.Runtime.PowerState; existing != on {
		return simulator.Fault("", wrongState(existing, on))
	}
	if m.Guest == nil || m.Guest.ToolsRunningStatus != "guestToolsRunning" {
		return simulator.Fault("", &types.ToolsUnavailable{})
	}
	h := m.t.describe(m.VirtualMachine, false)
	if err := m.t.engine.call(verb, request{Machine: m.Self.Value, Hardware: h}, nil); err != nil {
		return simulator.Fault(err.Error(), asFault(err, on))
	}
	m.t.post(ctx, event)
	return nil
}

// ShutdownGuest asks the tools to power the guest off.
func (m *machine) ShutdownGuest(ctx *simulator.Context, _ *types.ShutdownGuest) soap.HasFault {
	fault := m.guestVerb(ctx, "guest_shutdown", &types.VmGuestShutdownEvent{VmEvent: m.t.about(m.VirtualMachine)})
	return &methods.ShutdownGuestBody{Fault_: fault, Res: &types.ShutdownGuestResponse{}}
}

// RebootGuest asks the tools to start the guest over.
func (m *machine) RebootGuest(ctx *simulator.Context, _ *types.RebootGuest) soap.HasFault {
	fault := m.guestVerb(ctx, "guest_reboot", &types.VmGuestRebootEvent{VmEvent: m.t.about(m.VirtualMachine)})
	return &methods.RebootGuestBody{Fault_: fault, Res: &types.RebootGuestResponse{}}
}

// StandbyGuest is modelled: with tools that run, the machine is suspended by its host.
func (m *machine) StandbyGuest(ctx *simulator.Context, _ *types.StandbyGuest) soap.HasFault {
	body := &methods.StandbyGuestBody{Res: &types.StandbyGuestResponse{}}
	switch {
	case m.Runtime.PowerState != on:
		body.Fault_ = simulator.Fault("", wrongState(m.Runtime.PowerState, on))
	case m.Guest == nil || m.Guest.ToolsRunningStatus != "guestToolsRunning":
		body.Fault_ = simulator.Fault("", &types.ToolsUnavailable{})
	default:
		m.t.post(ctx, &types.VmGuestStandbyEvent{VmEvent: m.t.about(m.VirtualMachine)})
		_, body.Fault_ = m.t.exclusive(ctx, m.VirtualMachine, "standbyGuest", m.suspend)
	}
	return body
}

// SendNMI injects one; the simulator has no such method.
func (m *machine) SendNMI(_ *simulator.Context, _ *types.SendNMI) soap.HasFault {
	body := &methods.SendNMIBody{Res: &types.SendNMIResponse{}}
	if existing := m.Runtime.PowerState; existing != on {
		body.Fault_ = simulator.Fault("", wrongState(existing, on))
		return body
	}
	h := m.t.describe(m.VirtualMachine, false)
	if err := m.t.engine.call("nmi", request{Machine: m.Self.Value, Hardware: h}, nil); err != nil {
		body.Fault_ = simulator.Fault(err.Error(), asFault(err, on))
	}
	return body
}

// CreateScreenshotTask puts a PNG next to the machine's files; the simulator has no such method.
func (m *machine) CreateScreenshotTask(ctx *simulator.Context, _ *types.CreateScreenshot_Task) soap.HasFault {
	ref := m.t.run(ctx, m.VirtualMachine, "createScreenshot", m.Name,
		func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			if existing := m.state(ctx); existing != on {
				return nil, wrongState(existing, on)
			}
			name := m.directory() + "/" + say("%s-%d.png", m.Name, time.Now().UnixMilli())
			if fault := m.ask(ctx, "screenshot", request{File: m.t.file(name)}, nil); fault != nil {
				return nil, fault
			}
			return name, nil
		})
	return &methods.CreateScreenshot_TaskBody{Res: &types.CreateScreenshot_TaskResponse{Returnval: ref}}
}

// directory is the datastore path of the machine's own folder.
func (m *machine) directory() string {
	var p object.DatastorePath
	p.FromString(m.Config.Files.VmPathName)
	p.Path = strings.TrimSuffix(filepath.Dir(p.Path), "/")
	return p.String()
}

// UnregisterVM takes the machine out of the inventory and leaves its files.
func (m *machine) UnregisterVM(ctx *simulator.Context, req *types.UnregisterVM) soap.HasFault {
	return m.VirtualMachine.UnregisterVM(ctx, req)
}

// DestroyTask deletes the machine with its files; it must be off, as on a real host.
func (m *machine) DestroyTask(ctx *simulator.Context, _ *types.Destroy_Task) soap.HasFault {
	ref, fault := m.t.exclusive(ctx, m.VirtualMachine, "destroy", m.destroy)
	return &methods.Destroy_TaskBody{Fault_: fault, Res: &types.Destroy_TaskResponse{Returnval: ref}}
}

func (m *machine) destroy(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
	home := filepath.Dir(m.t.file(m.Config.Files.VmPathName))
	if existing := m.state(ctx); existing == on {
		return nil, wrongState(existing, off)
	}
	if fault := m.raise(ctx, "Destroy_Task"); fault != nil {
		return nil, fault
	}
	if fault := m.ask(ctx, "destroy", request{}, nil); fault != nil {
		return nil, fault
	}
	result, fault := nested(ctx, m.VirtualMachine.DestroyTask(ctx, &types.Destroy_Task{This: m.Self}))
	if fault == nil && filepath.Dir(home) == m.t.datastoreDir {
		_ = os.RemoveAll(home) // the simulator leaves a folder that holds more than it made itself
	}
	return result, fault
}
