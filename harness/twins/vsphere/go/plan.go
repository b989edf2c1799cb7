package main

import (
	"slices"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// plan is what shall go wrong, said through the control socket.
type plan struct {
	mu    sync.Mutex
	rules planned
}

// planned is the body of a request that sets the plan; each replaces the former.
type planned struct {
	Latency      int         `json:"latency"`       // milliseconds added to every request
	Status       int         `json:"status"`        // answer HTTP requests with this status, Count times
	Cut          bool        `json:"cut"`           // or close their connection unanswered
	Path         string      `json:"path"`          // only requests whose path begins so
	After        int64       `json:"after"`         // of uploads: cut after so many bytes
	Count        int         `json:"count"`         // how many HTTP requests; 0: none
	Free         *int64      `json:"free"`          // bytes that the datastore shall have
	Deny         []string    `json:"deny"`          // privileges that the account shall lack
	LeaseSeconds int         `json:"lease_seconds"` // an import's patience
	Calls        []*callRule `json:"calls"`         // faults of methods
	Questions    []string    `json:"questions"`     // names of machines that ask something in their next task
	OutOfSpace   []string    `json:"out_of_space"`  // names of machines that find no room then, and ask what to do
	AskingIn     string      `json:"asking_in"`     // the method of that task
}

// callRule is a method that fails.
type callRule struct {
	Method string `json:"method"`
	Name   string `json:"name"`  // of the object; empty: any
	Fault  string `json:"fault"` // a type of the API
	Count  int    `json:"count"`
	Delay  int    `json:"delay"` // milliseconds before
}

func newPlan(latency int) *plan { return &plan{rules: planned{Latency: latency}} }

func (p *plan) set(rules planned) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = rules
}

func (p *plan) freeSpace() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rules.Free == nil {
		return -1
	}
	return *p.rules.Free
}

func (p *plan) denied(privilege string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.rules.Deny, privilege)
}

func (p *plan) leaseSeconds(usual int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rules.LeaseSeconds > 0 {
		return p.rules.LeaseSeconds
	}
	return usual
}

// asks tells, once, what a machine of this name asks in a task of this method; nil: nothing.
func (p *plan) asks(name, method string) *types.VirtualMachineQuestionInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	if method != p.rules.AskingIn {
		return nil
	}
	for list, asked := range map[*[]string]*types.VirtualMachineQuestionInfo{
		&p.rules.Questions: wasCopied(), &p.rules.OutOfSpace: outOfSpace(),
	} {
		if at := slices.Index(*list, name); at >= 0 {
			*list = slices.Delete(*list, at, at+1)
			return asked
		}
	}
	return nil
}

// Which privilege a method needs, for those that a test may take away (vSphere API reference, "Required Privileges").
var needs = map[string]string{
	"PowerOnVM_Task":        "VirtualMachine.Interact.PowerOn",
	"PowerOffVM_Task":       "VirtualMachine.Interact.PowerOff",
	"ResetVM_Task":          "VirtualMachine.Interact.Reset",
	"SuspendVM_Task":        "VirtualMachine.Interact.Suspend",
	"CreateSnapshot_Task":   "VirtualMachine.State.CreateSnapshot",
	"RevertToSnapshot_Task": "VirtualMachine.State.RevertToSnapshot",
	"RemoveSnapshot_Task":   "VirtualMachine.State.RemoveSnapshot",
	"CloneVM_Task":          "VirtualMachine.Provisioning.Clone",
	"CreateVM_Task":         "VirtualMachine.Inventory.Create",
	"Destroy_Task":          "VirtualMachine.Inventory.Delete",
	"ImportVApp":            "VApp.Import",
	"CreateFolder":          "Folder.Create",
	"CreateScreenshot_Task": "VirtualMachine.Interact.CreateScreenshot",
	"AnswerVM":              "VirtualMachine.Interact.AnswerQuestion",
}

// fault says whether a call fails by plan, after the delay that the plan gives it.
func (p *plan) fault(t *twin, method *simulator.Method) types.BaseMethodFault {
	if privilege := needs[method.Name]; privilege != "" && p.denied(privilege) {
		object := method.This
		return &types.NoPermission{Object: &object, PrivilegeId: privilege}
	}
	rule := p.rule(t, method)
	if rule == nil {
		return nil
	}
	time.Sleep(time.Duration(rule.Delay) * time.Millisecond)
	if rule.Fault == "" {
		return nil
	}
	kind, ok := types.TypeFunc()(rule.Fault)
	if !ok {
		return systemError("planned: " + rule.Fault)
	}
	return made(kind)
}

func (p *plan) rule(t *twin, method *simulator.Method) *callRule {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, rule := range p.rules.Calls {
		if rule.Method != method.Name || rule.Count <= 0 {
			continue
		}
		if rule.Name != "" {
			entity, ok := t.registry().Get(method.This).(mo.Entity)
			if !ok || entity.Entity().Name != rule.Name {
				continue
			}
		}
		rule.Count--
		return rule
	}
	return nil
}
