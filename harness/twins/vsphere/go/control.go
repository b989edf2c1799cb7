package main

import (
	"encoding/json"
	"net"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// listenControl opens the socket on which the parent tells guests' news and tests plan faults.
func (t *twin) listenControl() error {
	socket, err := short(t.settings.Control)
	if err != nil {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	handle(mux, "/tools", func(body struct {
		Machine string    `json:"machine"`
		View    toolsView `json:"view"`
	}) error {
		if vm := t.machine(body.Machine); vm != nil {
			t.showTools(t.context(), vm, body.View)
		}
		return nil
	})
	handle(mux, "/exited", func(body news) error {
		if vm := t.machine(body.Machine); vm != nil {
			ctx := t.context()
			t.powered(ctx, vm, off, false)
			t.post(ctx, &types.VmPoweredOffEvent{VmEvent: t.about(vm)})
		}
		return nil
	})
	handle(mux, "/rebooted", func(body news) error {
		if vm := t.machine(body.Machine); vm != nil {
			ctx := t.context()
			t.rebooted(ctx, vm)
			t.post(ctx, &types.VmGuestRebootEvent{VmEvent: t.about(vm)})
		}
		return nil
	})
	handle(mux, "/plan", func(rules planned) error {
		t.plan.set(rules)
		t.refreshSpace(t.context())
		return nil
	})
	handle(mux, "/event", t.stage)
	go func() { _ = http.Serve(listener, mux) }()
	return nil
}

// news is something that happened to a machine.
type news struct {
	Machine string `json:"machine"`
	Name    string `json:"name"` // or by name
	Kind    string `json:"kind"`
	Host    string `json:"host"`
}

func handle[T any](mux *http.ServeMux, path string, act func(T) error) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		var body T
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := act(body); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

// stage plays what happens on its own: a migration, a reset by HA, a machine that is held because its disk found no room.
func (t *twin) stage(body news) error {
	vm := t.machine(body.Machine)
	for _, entity := range t.registry().All("VirtualMachine") {
		if vm == nil && entity.Entity().Name == body.Name {
			vm = entity.(*simulator.VirtualMachine)
		}
	}
	if vm == nil {
		return &refusal{Message: "no such machine"}
	}
	ctx := t.context()
	before := t.about(vm)
	for _, entity := range t.registry().All("HostSystem") {
		if entity.Entity().Name == body.Host {
			t.move(ctx, vm, entity.(*simulator.HostSystem))
		}
	}
	moved := types.VmMigratedEvent{VmEvent: t.about(vm)}
	if before.Host != nil {
		moved.SourceHost = *before.Host
	}
	switch body.Kind {
	case "VmMigratedEvent":
		t.post(ctx, &moved)
	case "DrsVmMigratedEvent":
		t.post(ctx, &types.DrsVmMigratedEvent{VmMigratedEvent: moved})
	case "VmDasBeingResetEvent":
		t.post(ctx, &types.VmDasBeingResetEvent{VmEvent: t.about(vm), Reason: "vmtoolsHeartbeatFailure"})
	case "outOfSpace":
		(&machine{VirtualMachine: vm, t: t}).hold(ctx)
	default:
		return &refusal{Message: "no such event: " + body.Kind}
	}
	return nil
}

// move puts a machine on another host of the cluster.
func (t *twin) move(ctx *simulator.Context, vm *simulator.VirtualMachine, to *simulator.HostSystem) {
	if from, ok := t.registry().Get(*vm.Runtime.Host).(*simulator.HostSystem); ok {
		ctx.WithLock(from, func() { simulator.RemoveReference(&from.Vm, vm.Self) })
	}
	ctx.Map.AppendReference(ctx, to, &to.Vm, vm.Self)
	ctx.WithLock(vm, func() {
		ctx.Update(vm, []types.PropertyChange{
			{Name: "runtime.host", Val: to.Self}, {Name: "summary.runtime.host", Val: to.Self},
		})
	})
}

// made is a fault of a type, empty: what a test planned.
func made(kind reflect.Type) types.BaseMethodFault {
	fault, ok := reflect.New(kind).Interface().(types.BaseMethodFault)
	if !ok {
		return systemError("planned: " + kind.Name())
	}
	if base := fault.GetMethodFault(); base != nil {
		*base = cause("planned by a test")
	}
	return fault
}

// question is one that a machine asks in the middle of a task, or while it runs.
type question struct {
	once   sync.Once
	answer chan string
}

const (
	goOn   = "0"
	cancel = "1"
)

func wasCopied() *types.VirtualMachineQuestionInfo {
	return ask("msg.uuid.altered: this virtual machine might have been moved or copied (asked by a test)",
		choice(goOn, "button.uuid.copiedTheVM", "I Copied It"), choice(cancel, "button.cancel", "Cancel"))
}

func outOfSpace() *types.VirtualMachineQuestionInfo {
	return ask("msg.hbacommon.outofspace: there is no more space for the virtual disk (asked by a test)",
		choice(goOn, "button.retry", "Retry"), choice(cancel, "button.abort", "Cancel"))
}

func ask(text string, choices ...types.BaseElementDescription) *types.VirtualMachineQuestionInfo {
	return &types.VirtualMachineQuestionInfo{Id: "1", Text: text, Choice: types.ChoiceOption{ChoiceInfo: choices}}
}

func choice(key, label, summary string) types.BaseElementDescription {
	return &types.ElementDescription{Key: key, Description: types.Description{Label: label, Summary: summary}}
}

// raise asks the planned question and waits for its answer, as a host does: for ever, unless the task is cancelled.
func (m *machine) raise(ctx *simulator.Context, method string) types.BaseMethodFault {
	info := m.t.plan.asks(m.Name, method)
	if info == nil {
		return nil
	}
	asked := &question{answer: make(chan string, 1)}
	m.t.mu.Lock()
	m.t.questions[m.Self] = asked
	m.t.mu.Unlock()
	m.show(ctx, info)
	answer := m.awaited(ctx, asked)
	m.show(ctx, nil)
	if answer == cancel {
		fault := &types.GenericVmConfigFault{Reason: "the question was answered with: Cancel"}
		fault.MethodFault = cause(fault.Reason)
		return fault
	}
	return nil
}

// hold has a running machine ask what to do about its disk, which finds no room: to give up is to go off.
func (m *machine) hold(ctx *simulator.Context) {
	asked := &question{answer: make(chan string, 1)}
	m.t.mu.Lock()
	m.t.questions[m.Self] = asked
	m.t.mu.Unlock()
	m.show(ctx, outOfSpace())
	go func() {
		answer := <-asked.answer
		m.show(ctx, nil)
		if answer == cancel {
			m.PowerOffVMTask(ctx, &types.PowerOffVM_Task{This: m.Self})
		}
	}()
}

func (m *machine) awaited(ctx *simulator.Context, asked *question) string {
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case answer := <-asked.answer:
			return answer
		case <-look.C:
			m.t.mu.Lock()
			ref := m.t.busy[m.Self]
			m.t.mu.Unlock()
			if task, ok := ctx.Map.Get(ref).(*simulator.Task); ok && cancelled(ctx, task) {
				m.t.mu.Lock()
				delete(m.t.questions, m.Self)
				m.t.mu.Unlock()
				return cancel
			}
		}
	}
}

func cancelled(ctx *simulator.Context, task *simulator.Task) (so bool) {
	ctx.WithLock(task, func() { so = task.Info.State == types.TaskInfoStateError })
	return so
}

func (m *machine) show(ctx *simulator.Context, asked *types.VirtualMachineQuestionInfo) {
	var value any
	if asked != nil {
		value = *asked
	}
	ctx.WithLock(m.VirtualMachine, func() {
		ctx.Update(m.VirtualMachine, []types.PropertyChange{
			{Name: "runtime.question", Val: value}, {Name: "summary.runtime.question", Val: value},
		})
	})
}

// AnswerVM answers the pending question.
func (m *machine) AnswerVM(_ *simulator.Context, req *types.AnswerVM) soap.HasFault {
	body := &methods.AnswerVMBody{Res: &types.AnswerVMResponse{}}
	m.t.mu.Lock()
	asked := m.t.questions[m.Self]
	delete(m.t.questions, m.Self)
	m.t.mu.Unlock()
	if asked == nil || req.QuestionId != "1" || (req.AnswerChoice != goOn && req.AnswerChoice != cancel) {
		body.Fault_ = simulator.Fault("", &types.InvalidArgument{InvalidProperty: "questionId"})
		return body
	}
	asked.once.Do(func() { asked.answer <- req.AnswerChoice })
	return body
}
