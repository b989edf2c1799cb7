package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/vmware/govmomi/vim25/types"
)

// engine is the client of what really runs: QEMU processes, kept by the parent process behind a unix socket.
type engine struct {
	client *http.Client
}

// request is the body of every call; a verb takes of it what it needs.
type request struct {
	Machine  string            `json:"machine"`
	Hardware *hardware         `json:"hardware,omitempty"`
	Snapshot string            `json:"snapshot,omitempty"`
	Memory   bool              `json:"memory,omitempty"`
	Quiesce  bool              `json:"quiesce,omitempty"`
	Source   string            `json:"source,omitempty"` // the machine that a clone comes from
	Disks    map[string]string `json:"disks,omitempty"`  // a clone's disks by the source's
	File     string            `json:"file,omitempty"`
}

// refusal is what the engine answers when it could not: a fault of ours by name, and why.
type refusal struct {
	Fault   string `json:"fault"`
	Message string `json:"message"`
}

func (r *refusal) Error() string { return r.Message }

func newEngine(socket string) *engine {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &engine{client: &http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 16}}}
}

// call runs a verb to its end; no time limit here, for the engine has its own.
func (e *engine) call(verb string, body request, into any) error {
	sent, err := json.Marshal(body)
	if err != nil {
		return err
	}
	answer, err := e.client.Post("http://engine/"+verb, "application/json", bytes.NewReader(sent))
	if err != nil {
		return fmt.Errorf("the twin's engine does not answer: %w", err)
	}
	defer answer.Body.Close()
	read, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		said := &refusal{}
		if err := json.Unmarshal(read, said); err != nil {
			return fmt.Errorf("the twin's engine answered %d", answer.StatusCode)
		}
		return said
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(read, into)
}

// asFault says what the engine could not do in the words of vSphere.
func asFault(err error, state types.VirtualMachinePowerState) types.BaseMethodFault {
	if err == nil {
		return nil
	}
	said, ok := err.(*refusal)
	if !ok {
		return systemError(err.Error())
	}
	switch said.Fault {
	case "WrongMachineState":
		return &types.InvalidPowerState{ExistingState: state, InvalidState: explained(said.Message)}
	case "GuestSilent":
		return &types.ToolsUnavailable{VimFault: types.VimFault{MethodFault: cause(said.Message)}}
	case "NotSupported":
		return &types.NotSupported{RuntimeFault: types.RuntimeFault{MethodFault: cause(said.Message)}}
	case "FileNotFound":
		return &types.FileNotFound{FileFault: types.FileFault{File: said.Message}}
	case "UnsupportedDisk":
		fault := &types.GenericVmConfigFault{Reason: said.Message}
		fault.MethodFault = cause(said.Message)
		return fault
	}
	return systemError(said.Message)
}

func systemError(reason string) types.BaseMethodFault {
	fault := &types.SystemError{Reason: reason}
	fault.MethodFault = cause(reason)
	return fault
}

func explained(message string) types.InvalidState {
	return types.InvalidState{VimFault: types.VimFault{MethodFault: cause(message)}}
}

// cause carries a sentence in the one place that every fault has for it.
func cause(message string) types.MethodFault {
	return types.MethodFault{FaultMessage: []types.LocalizableMessage{{Key: "twin", Message: message}}}
}
