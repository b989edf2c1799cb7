package main

import (
	"fmt"
	"log"
	"reflect"
	"runtime/debug"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// job is a task's work. It runs without any lock of the simulator's, so that clients can read a machine while QEMU
// works on it: the simulator's own tasks hold the machine's lock from beginning to end.
type job func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault)

// run starts a task on an entity and returns its reference at once.
func (t *twin) run(caller *simulator.Context, entity mo.Reference, name, label string, work job) types.ManagedObjectReference {
	ctx := *caller // a caller of its own: the one that asked gives its locks back when its call returns
	task := simulator.CreateTask(entity, name, nil)
	task.Self = types.ManagedObjectReference{Type: "Task", Value: fmt.Sprintf("task-%d", 100000+t.tasks.Add(1))}
	task.Info.Key, task.Info.Task = task.Self.Value, task.Self
	task.Info.EntityName, task.Info.Cancelable = label, true
	if caller.Session != nil {
		task.Info.Reason = &types.TaskReasonUser{UserName: caller.Session.UserName}
	}
	ctx.Map.Put(task)
	t.settle(&ctx, task, types.TaskInfoStateRunning, types.PropertyChange{Name: "info.startTime", Val: time.Now()})
	if vm, ok := entity.(*simulator.VirtualMachine); ok { // what a vCenter remembers of a revert is this alone
		event := &types.TaskEvent{Event: t.about(vm).Event, Info: task.Info}
		event.FullFormattedMessage = "Task: " + task.Info.DescriptionId
		t.post(&ctx, event)
	}
	go func() {
		result, fault := guarded(&ctx, work)
		done := types.PropertyChange{Name: "info.completeTime", Val: time.Now()}
		if fault != nil {
			problem := types.LocalizedMethodFault{Fault: fault, LocalizedMessage: sentence(fault)}
			t.settle(&ctx, task, types.TaskInfoStateError, done, types.PropertyChange{Name: "info.error", Val: problem})
			return
		}
		t.settle(&ctx, task, types.TaskInfoStateSuccess, done, types.PropertyChange{Name: "info.result", Val: result})
	}()
	return task.Self
}

// settle moves a task to a state, unless it was cancelled meanwhile.
func (t *twin) settle(
	ctx *simulator.Context, task *simulator.Task, state types.TaskInfoState, changes ...types.PropertyChange,
) {
	ctx.WithLock(task, func() {
		if task.Info.State == types.TaskInfoStateError {
			return
		}
		ctx.Update(task, append(changes, types.PropertyChange{Name: "info.state", Val: state}))
	})
}

// guarded turns a panic into a fault: one client's nonsense must not end the others' vCenter.
func guarded(ctx *simulator.Context, work job) (result types.AnyType, fault types.BaseMethodFault) {
	defer func() {
		if reason := recover(); reason != nil {
			log.Printf("panic: %v\n%s", reason, debug.Stack())
			result, fault = nil, systemError(fmt.Sprint(reason))
		}
	}()
	return work(ctx)
}

// exclusive runs a task that no other of its machine may overlap, as a host refuses it: TaskInProgress.
func (t *twin) exclusive(
	ctx *simulator.Context, vm *simulator.VirtualMachine, name string, work job,
) (types.ManagedObjectReference, *soap.Fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if running, taken := t.busy[vm.Self]; taken {
		return types.ManagedObjectReference{}, simulator.Fault("", &types.TaskInProgress{Task: running})
	}
	t.busy[vm.Self] = types.ManagedObjectReference{Type: "Task", Value: "task-" + name}
	ref := t.run(ctx, vm, name, vm.Name, func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
		defer func() {
			t.mu.Lock()
			delete(t.busy, vm.Self)
			t.mu.Unlock()
		}()
		return work(ctx)
	})
	t.busy[vm.Self] = ref
	return ref, nil
}

// nested runs a task of the simulator's own to its end: it keeps the inventory, we keep what runs.
func nested(ctx *simulator.Context, body soap.HasFault) (types.AnyType, types.BaseMethodFault) {
	if fault := body.Fault(); fault != nil {
		if known, ok := fault.VimFault().(types.BaseMethodFault); ok {
			return nil, known
		}
		return nil, systemError(fault.String)
	}
	ref := reflect.ValueOf(body).Elem().FieldByName("Res").Elem().FieldByName("Returnval")
	task := ctx.Map.Get(ref.Interface().(types.ManagedObjectReference)).(*simulator.Task)
	task.Wait()
	if task.Info.Error != nil {
		return nil, task.Info.Error.Fault
	}
	return task.Info.Result, nil
}

// sentence is what a person reads in a task's error.
func sentence(fault types.BaseMethodFault) string {
	name := reflect.TypeOf(fault).Elem().Name()
	if base := fault.GetMethodFault(); base != nil && len(base.FaultMessage) > 0 {
		return name + ": " + base.FaultMessage[0].Message
	}
	return name
}
