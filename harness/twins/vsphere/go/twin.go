package main

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// twin is everything that this process knows beside the simulator's own inventory.
type twin struct {
	settings     settings
	model        *simulator.Model
	datastoreDir string
	engine       *engine
	front        *front
	plan         *plan
	tasks        atomic.Int64

	mu        sync.Mutex
	busy      map[types.ManagedObjectReference]types.ManagedObjectReference // machine -> its running task
	snapshots map[types.ManagedObjectReference]*saved
	leases    map[string]*lease
	tools     map[types.ManagedObjectReference]toolsView
	questions map[types.ManagedObjectReference]*question
}

func (t *twin) init() error {
	socket, err := short(t.settings.Engine)
	if err != nil {
		return err
	}
	t.engine = newEngine(socket)
	t.plan = newPlan(t.settings.Latency)
	t.front = newFront(t)
	t.busy = map[types.ManagedObjectReference]types.ManagedObjectReference{}
	t.snapshots = map[types.ManagedObjectReference]*saved{}
	t.leases = map[string]*lease{}
	t.tools = map[types.ManagedObjectReference]toolsView{}
	t.questions = map[types.ManagedObjectReference]*question{}
	t.registry().AddHandler(&gone{t: t})
	return nil
}

func (t *twin) registry() *simulator.Registry { return t.model.Service.Context.Map }

// context is a caller of its own: locks of the simulator belong to a context.
func (t *twin) context() *simulator.Context {
	ctx := *t.model.Service.Context
	return &ctx
}

// machine finds a virtual machine by its id.
func (t *twin) machine(id string) *simulator.VirtualMachine {
	vm, _ := t.registry().Get(types.ManagedObjectReference{Type: "VirtualMachine", Value: id}).(*simulator.VirtualMachine)
	return vm
}

// file says where a datastore path lies on this machine; empty when it is no path of our datastore.
func (t *twin) file(name string) string {
	var p object.DatastorePath
	if !p.FromString(name) || p.Datastore != t.settings.Datastore || strings.Contains(p.Path, "..") {
		return ""
	}
	return filepath.Join(t.datastoreDir, filepath.FromSlash(path.Clean("/"+p.Path)))
}

// body is the folder of a disk's uploads: out of clients' sight, by the disk's own relative name.
func (t *twin) body(disk string) string {
	relative, err := filepath.Rel(t.datastoreDir, disk)
	if err != nil {
		return ""
	}
	return filepath.Join(t.settings.Folder, "bodies", relative)
}

// short is a socket's address within 108 bytes, however long its folder's name is.
func short(socket string) (string, error) {
	folder, err := syscall.Open(filepath.Dir(socket), pathOnly|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", folder, filepath.Base(socket)), nil
}

const pathOnly = 0x200000 // O_PATH, which package syscall does not name

// post writes events about machines into the event log.
func (t *twin) post(ctx *simulator.Context, events ...types.BaseEvent) {
	manager := ctx.Map.EventManager()
	ctx.WithLock(manager, func() {
		for _, event := range events {
			manager.PostEvent(ctx, &types.PostEvent{EventToPost: event})
		}
	})
}

// about is the part that all events about one machine share.
func (t *twin) about(vm *simulator.VirtualMachine) types.VmEvent {
	event := types.VmEvent{}
	event.Vm = &types.VmEventArgument{EntityEventArgument: types.EntityEventArgument{Name: vm.Name}, Vm: vm.Self}
	if vm.Runtime.Host == nil {
		return event
	}
	host, ok := t.registry().Get(*vm.Runtime.Host).(*simulator.HostSystem)
	if !ok {
		return event
	}
	event.Host = &types.HostEventArgument{EntityEventArgument: types.EntityEventArgument{Name: host.Name}, Host: host.Self}
	for _, entity := range t.registry().All("Datacenter") {
		name := entity.Entity().Name
		argument := types.EntityEventArgument{Name: name}
		event.Datacenter = &types.DatacenterEventArgument{EntityEventArgument: argument, Datacenter: entity.Reference()}
	}
	if parent, ok := t.registry().Get(*host.Parent).(mo.Entity); ok {
		argument := types.EntityEventArgument{Name: parent.Entity().Name}
		event.ComputeResource = &types.ComputeResourceEventArgument{
			EntityEventArgument: argument, ComputeResource: parent.Reference(),
		}
	}
	return event
}

// gone tells the engine of machines that left the inventory by whatever way.
type gone struct{ t *twin }

func (*gone) Reference() types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "InteropWatch", Value: "machines"}
}
func (*gone) PutObject(*simulator.Context, mo.Reference)                            {}
func (*gone) UpdateObject(*simulator.Context, mo.Reference, []types.PropertyChange) {}
func (g *gone) RemoveObject(_ *simulator.Context, ref types.ManagedObjectReference) {
	if ref.Type != "VirtualMachine" {
		return
	}
	g.t.mu.Lock()
	delete(g.t.tools, ref)
	g.t.mu.Unlock()
	vm := g.t.machine(ref.Value)
	if vm == nil || vm.Config == nil {
		return
	}
	body := request{Machine: ref.Value, Hardware: g.t.describe(vm, true)}
	go func() { _ = g.t.engine.call("destroy", body, nil) }()
}

func say(format string, values ...any) string { return fmt.Sprintf(format, values...) }
