package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// lease is an import in progress. The simulator counts the bytes of an upload and throws them away, forgets no lease,
// and leaves the machine of one that was aborted; a vCenter does none of this.
type lease struct {
	object *simulator.HttpNfcLease
	caller *simulator.Context
	alive  time.Time
}

// pool is a resource pool into which images are imported.
type pool struct {
	*simulator.ResourcePool
	t *twin
}

// ImportVApp opens a lease.
func (p *pool) ImportVApp(ctx *simulator.Context, req *types.ImportVApp) soap.HasFault {
	body := &methods.ImportVAppBody{}
	spec, ok := req.Spec.(*types.VirtualMachineImportSpec)
	if !ok {
		body.Fault_ = simulator.Fault("", &types.InvalidArgument{InvalidProperty: "spec"})
		return body
	}
	if req.Folder != nil {
		parent, ok := ctx.Map.Get(*req.Folder).(*simulator.Folder)
		if !ok {
			body.Fault_ = simulator.Fault("", &types.ManagedObjectNotFound{Obj: *req.Folder})
			return body
		}
		fault := p.t.placed(ctx, p.Self, req.Host)
		if fault == nil {
			fault = p.t.creatable(ctx, parent, &spec.ConfigSpec)
		}
		if fault != nil {
			body.Fault_ = simulator.Fault(sentence(fault), fault)
			return body
		}
	}
	answer := p.ResourcePool.ImportVApp(ctx, req)
	if opened, ok := answer.(*methods.ImportVAppBody); ok && opened.Res != nil {
		ref := opened.Res.Returnval
		if object, ok := ctx.Session.Registry.Get(ref).(*simulator.HttpNfcLease); ok {
			caller := *ctx
			p.t.mu.Lock()
			p.t.leases[ref.Value] = &lease{object: object, caller: &caller, alive: time.Now()}
			p.t.mu.Unlock()
			go p.t.watchLease(ref.Value)
		}
	}
	return answer
}

func (t *twin) lease(id string) *lease {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.leases[id]
}

func (t *twin) touch(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.leases[id]; l != nil {
		l.alive = time.Now()
	}
}

func (t *twin) dropLease(id string) *lease {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.leases[id]
	delete(t.leases, id)
	return l
}

// watchLease ends a lease of which nothing was heard, as a vCenter does: error state, and the machine is gone.
func (t *twin) watchLease(id string) {
	for {
		time.Sleep(200 * time.Millisecond)
		l := t.lease(id)
		if l == nil {
			return
		}
		limit := time.Duration(t.plan.leaseSeconds(t.settings.LeaseSeconds)) * time.Second
		t.mu.Lock()
		late := time.Since(l.alive) > limit
		t.mu.Unlock()
		if !late {
			continue
		}
		t.failLease(id, &types.Timedout{})
		return
	}
}

func (t *twin) failLease(id string, fault types.BaseMethodFault) {
	l := t.dropLease(id)
	if l == nil {
		return
	}
	ctx := *l.caller
	vm := t.leaseMachine(&ctx, l)
	problem := &types.LocalizedMethodFault{Fault: fault, LocalizedMessage: sentence(fault)}
	// Under one lock: who reads the error finds the machine gone, who misses the machine finds the error.
	ctx.WithLock(l.object, func() {
		t.unmake(&ctx, vm)
		ctx.Update(l.object, []types.PropertyChange{
			{Name: "state", Val: types.HttpNfcLeaseStateError}, {Name: "error", Val: problem},
		})
	})
}

// unmake deletes the machine that an import had begun.
func (t *twin) unmake(ctx *simulator.Context, vm *simulator.VirtualMachine) {
	if vm != nil {
		_, _ = (&machine{VirtualMachine: vm, t: t}).destroy(ctx)
	}
}

// leaseMachine is the machine that an import is making. A call to the lease holds its lock already: the call's own
// context gets through, any other would wait for ever.
func (t *twin) leaseMachine(ctx *simulator.Context, l *lease) (vm *simulator.VirtualMachine) {
	ctx.WithLock(l.object, func() {
		if l.object.Info != nil {
			vm = t.machine(l.object.Info.Entity.Value)
		}
	})
	return vm
}

// upload says where the body of an upload belongs: the file that holds the disk's bytes, empty for a stranger.
func (t *twin) upload(id, name string) string {
	l := t.lease(id)
	if l == nil {
		return ""
	}
	vm := t.leaseMachine(t.context(), l)
	if vm == nil {
		return ""
	}
	found := ""
	t.context().WithLock(vm, func() {
		for _, device := range vm.Config.Hardware.Device {
			if file := t.file(fileOf(device)); file != "" && path.Base(file) == name {
				// Never the same name twice: the engine remembers images by their names.
				found = filepath.Join(t.body(file), fmt.Sprintf("%d.vmdk", time.Now().UnixNano()))
			}
		}
	})
	return found
}

// leased is a lease whose end means something.
type leased struct {
	*simulator.HttpNfcLease
	t *twin
}

func (t *twin) leaseReceiver(ref types.ManagedObjectReference) mo.Reference {
	if l := t.lease(ref.Value); l != nil {
		return &leased{HttpNfcLease: l.object, t: t}
	}
	return nil
}

// HttpNfcLeaseProgress keeps the lease alive.
func (l *leased) HttpNfcLeaseProgress(ctx *simulator.Context, req *types.HttpNfcLeaseProgress) soap.HasFault {
	l.t.touch(l.Self.Value)
	return l.HttpNfcLease.HttpNfcLeaseProgress(ctx, req)
}

// HttpNfcLeaseComplete makes the imported machine one like any other.
func (l *leased) HttpNfcLeaseComplete(ctx *simulator.Context, req *types.HttpNfcLeaseComplete) soap.HasFault {
	known := l.t.dropLease(l.Self.Value)
	if known != nil {
		if vm := l.t.leaseMachine(ctx, known); vm != nil {
			l.t.showTools(ctx, vm, toolsView{})
		}
	}
	return l.HttpNfcLease.HttpNfcLeaseComplete(ctx, req)
}

// HttpNfcLeaseAbort gives up, and takes the half-made machine along.
func (l *leased) HttpNfcLeaseAbort(ctx *simulator.Context, req *types.HttpNfcLeaseAbort) soap.HasFault {
	known := l.t.dropLease(l.Self.Value)
	body := l.HttpNfcLease.HttpNfcLeaseAbort(ctx, req)
	if known != nil {
		background := *known.caller
		l.t.unmake(&background, l.t.leaseMachine(ctx, known))
	}
	return body
}

// keep moves a whole upload to its place.
func keep(part, file string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.Rename(part, file)
}

// incoming is where uploads arrive; the folder is on the file system of the datastore.
func (t *twin) incoming() string {
	folder := filepath.Join(t.settings.Folder, "incoming")
	_ = os.MkdirAll(folder, 0o700)
	return folder
}
