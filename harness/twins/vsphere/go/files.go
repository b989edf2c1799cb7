package main

import (
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// The simulator's tasks on files say that their entity is a manager, which no client of the real API can read; on a
// vCenter it is the datacenter. And a disk that is deleted by hand is the engine's to delete too.

type fileManager struct {
	*simulator.FileManager
	t *twin
}

type diskManager struct {
	*simulator.VirtualDiskManager
	t *twin
}

func (t *twin) fileTask(ctx *simulator.Context, name, doomed string, act func(*simulator.Context) soap.HasFault) types.ManagedObjectReference {
	var datacenter mo.Entity
	for _, entity := range t.registry().All("Datacenter") {
		datacenter = entity
	}
	return t.run(ctx, datacenter, name, datacenter.Entity().Name,
		func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			if file := t.file(doomed); strings.HasSuffix(file, ".vmdk") {
				if err := t.engine.call("delete_disk", request{File: file}, nil); err != nil {
					fault := &types.FileLocked{}
					fault.File, fault.MethodFault = doomed, cause(err.Error())
					return nil, fault
				}
			}
			return nested(ctx, act(ctx))
		})
}

// DeleteDatastoreFileTask deletes a file or a folder.
func (f *fileManager) DeleteDatastoreFileTask(ctx *simulator.Context, req *types.DeleteDatastoreFile_Task) soap.HasFault {
	ref := f.t.fileTask(ctx, "deleteDatastoreFile", req.Name, func(ctx *simulator.Context) soap.HasFault {
		return f.FileManager.DeleteDatastoreFileTask(ctx, req)
	})
	return &methods.DeleteDatastoreFile_TaskBody{Res: &types.DeleteDatastoreFile_TaskResponse{Returnval: ref}}
}

// MoveDatastoreFileTask moves a file or a folder.
func (f *fileManager) MoveDatastoreFileTask(ctx *simulator.Context, req *types.MoveDatastoreFile_Task) soap.HasFault {
	ref := f.t.fileTask(ctx, "moveDatastoreFile", "", func(ctx *simulator.Context) soap.HasFault {
		return f.FileManager.MoveDatastoreFileTask(ctx, req)
	})
	return &methods.MoveDatastoreFile_TaskBody{Res: &types.MoveDatastoreFile_TaskResponse{Returnval: ref}}
}

// CopyDatastoreFileTask copies a file.
func (f *fileManager) CopyDatastoreFileTask(ctx *simulator.Context, req *types.CopyDatastoreFile_Task) soap.HasFault {
	ref := f.t.fileTask(ctx, "copyDatastoreFile", "", func(ctx *simulator.Context) soap.HasFault {
		return f.FileManager.CopyDatastoreFileTask(ctx, req)
	})
	return &methods.CopyDatastoreFile_TaskBody{Res: &types.CopyDatastoreFile_TaskResponse{Returnval: ref}}
}

// CreateVirtualDiskTask makes an empty disk.
func (d *diskManager) CreateVirtualDiskTask(ctx *simulator.Context, req *types.CreateVirtualDisk_Task) soap.HasFault {
	ref := d.t.fileTask(ctx, "createVirtualDisk", "", func(ctx *simulator.Context) soap.HasFault {
		return d.VirtualDiskManager.CreateVirtualDiskTask(ctx, req)
	})
	return &methods.CreateVirtualDisk_TaskBody{Res: &types.CreateVirtualDisk_TaskResponse{Returnval: ref}}
}

// DeleteVirtualDiskTask deletes a disk that is on no machine.
func (d *diskManager) DeleteVirtualDiskTask(ctx *simulator.Context, req *types.DeleteVirtualDisk_Task) soap.HasFault {
	ref := d.t.fileTask(ctx, "deleteVirtualDisk", req.Name, func(ctx *simulator.Context) soap.HasFault {
		return d.VirtualDiskManager.DeleteVirtualDiskTask(ctx, req)
	})
	return &methods.DeleteVirtualDisk_TaskBody{Res: &types.DeleteVirtualDisk_TaskResponse{Returnval: ref}}
}

// MoveVirtualDiskTask is refused: a disk's content goes by its name, and would be lost.
func (d *diskManager) MoveVirtualDiskTask(*simulator.Context, *types.MoveVirtualDisk_Task) soap.HasFault {
	return &methods.MoveVirtualDisk_TaskBody{Fault_: simulator.Fault("the twin moves no disks", &types.NotSupported{})}
}

// CopyVirtualDiskTask is refused: the copy would be empty.
func (d *diskManager) CopyVirtualDiskTask(*simulator.Context, *types.CopyVirtualDisk_Task) soap.HasFault {
	return &methods.CopyVirtualDisk_TaskBody{Fault_: simulator.Fault("the twin copies no disks", &types.NotSupported{})}
}
