package main

import (
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// hook is asked before every call, and may name another receiver than the simulator's object.
//
// A session looks every object up once more and would put the simulator's own back in its place, so the call is given
// a name that no registry knows; the reference that matters stands in the request's body.
func (t *twin) hook(ctx *simulator.Context, method *simulator.Method) (mo.Reference, types.BaseMethodFault) {
	if ctx.Session == nil {
		return nil, anonymous(method)
	}
	if fault := t.plan.fault(t, method); fault != nil {
		return nil, fault
	}
	receiver := t.receiver(ctx, method)
	if receiver != nil {
		method.This = types.ManagedObjectReference{Type: "InteropTwin", Value: method.This.Value}
	}
	return receiver, nil
}

func (t *twin) receiver(ctx *simulator.Context, method *simulator.Method) mo.Reference {
	if method.This.Type == "HttpNfcLease" {
		return t.leaseReceiver(method.This)
	}
	switch object := t.registry().Get(method.This).(type) {
	case *simulator.VirtualMachine:
		return &machine{VirtualMachine: object, t: t}
	case *simulator.VirtualMachineSnapshot:
		return &snapshot{VirtualMachineSnapshot: object, t: t}
	case *simulator.Folder:
		return &folder{Folder: object, t: t}
	case *simulator.ResourcePool:
		return &pool{ResourcePool: object, t: t}
	case *simulator.Datastore:
		return &store{Datastore: object, t: t}
	case *simulator.FileManager:
		return &fileManager{FileManager: object, t: t}
	case *simulator.VirtualDiskManager:
		return &diskManager{VirtualDiskManager: object, t: t}
	case *simulator.AuthorizationManager:
		return &authorization{AuthorizationManager: object, t: t}
	case *simulator.SessionManager:
		if method.Name == "AcquireGenericServiceTicket" {
			return &tickets{SessionManager: object, t: t}
		}
	}
	return nil
}

// anonymous refuses what the simulator answers without a login, and a vCenter does not.
func anonymous(method *simulator.Method) types.BaseMethodFault {
	var specs []types.PropertyFilterSpec
	switch body := method.Body.(type) {
	case *types.RetrieveProperties:
		specs = body.SpecSet
	case *types.RetrievePropertiesEx:
		specs = body.SpecSet
	}
	for _, spec := range specs {
		for _, object := range spec.ObjectSet {
			if object.Obj.Type != "ServiceInstance" {
				fault := &types.NotAuthenticated{}
				fault.Object, fault.PrivilegeId = &object.Obj, "System.View"
				return fault
			}
		}
	}
	return nil
}

// hostClock is the host time that the simulator lacks; in whole seconds, as a real host gives it.
type hostClock struct{ mo.HostDateTimeSystem }

// QueryDateTime answers the host's time.
func (*hostClock) QueryDateTime(*types.QueryDateTime) soap.HasFault {
	now := time.Now().UTC().Truncate(time.Second)
	return &methods.QueryDateTimeBody{Res: &types.QueryDateTimeResponse{Returnval: now}}
}

// store shows the real free space.
type store struct {
	*simulator.Datastore
	t *twin
}

// RefreshDatastore reads the space anew; the simulator would promise a terabyte.
func (s *store) RefreshDatastore(ctx *simulator.Context, _ *types.RefreshDatastore) soap.HasFault {
	s.t.refreshSpace(ctx)
	return &methods.RefreshDatastoreBody{Res: &types.RefreshDatastoreResponse{}}
}

// authorization shows the privileges that a test took away.
type authorization struct {
	*simulator.AuthorizationManager
	t *twin
}

// HasPrivilegeOnEntities says which of the asked the session's user has.
func (a *authorization) HasPrivilegeOnEntities(req *types.HasPrivilegeOnEntities) soap.HasFault {
	body := a.AuthorizationManager.HasPrivilegeOnEntities(req)
	if answer, ok := body.(*methods.HasPrivilegeOnEntitiesBody); ok && answer.Res != nil {
		for _, entity := range answer.Res.Returnval {
			for i := range entity.PrivAvailability {
				if a.t.plan.denied(entity.PrivAvailability[i].PrivId) {
					entity.PrivAvailability[i].IsGranted = false
				}
			}
		}
	}
	return body
}

// HasUserPrivilegeOnEntities says which of the asked a user has.
func (a *authorization) HasUserPrivilegeOnEntities(req *types.HasUserPrivilegeOnEntities) soap.HasFault {
	body := a.AuthorizationManager.HasUserPrivilegeOnEntities(req)
	if answer, ok := body.(*methods.HasUserPrivilegeOnEntitiesBody); ok && answer.Res != nil {
		for _, entity := range answer.Res.Returnval {
			for i := range entity.PrivAvailability {
				if a.t.plan.denied(entity.PrivAvailability[i].PrivId) {
					entity.PrivAvailability[i].IsGranted = false
				}
			}
		}
	}
	return body
}

// FetchUserPrivilegeOnEntities lists what a user has.
func (a *authorization) FetchUserPrivilegeOnEntities(req *types.FetchUserPrivilegeOnEntities) soap.HasFault {
	body := a.AuthorizationManager.FetchUserPrivilegeOnEntities(req)
	if answer, ok := body.(*methods.FetchUserPrivilegeOnEntitiesBody); ok && answer.Res != nil {
		for i := range answer.Res.Returnval {
			granted := []string{}
			for _, id := range answer.Res.Returnval[i].Privileges {
				if !a.t.plan.denied(id) {
					granted = append(granted, id)
				}
			}
			answer.Res.Returnval[i].Privileges = granted
		}
	}
	return body
}

// tickets remembers what gives access to the datastore without a session's cookie.
type tickets struct {
	*simulator.SessionManager
	t *twin
}

// AcquireGenericServiceTicket makes one.
func (s *tickets) AcquireGenericServiceTicket(req *types.AcquireGenericServiceTicket) soap.HasFault {
	body := s.SessionManager.AcquireGenericServiceTicket(req)
	if answer, ok := body.(*methods.AcquireGenericServiceTicketBody); ok && answer.Res != nil {
		s.t.front.remember(answer.Res.Returnval.Id)
	}
	return body
}
