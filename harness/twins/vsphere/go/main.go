// The vCenter that the vSphere twin shows: govmomi's simulator, with virtual machines that run.
//
// It is started by harness.twins.vsphere, never by hand: one line of JSON on stdin says what to be, one line on stdout
// says that it is, and when stdin closes (the parent died, however) it ends.
package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	_ "github.com/vmware/govmomi/lookup/simulator"
	_ "github.com/vmware/govmomi/pbm/simulator"
	_ "github.com/vmware/govmomi/vapi/simulator"
)

// settings is the line on stdin.
type settings struct {
	Listen       string             `json:"listen"`        // 127.0.0.1:0 picks a port
	Folder       string             `json:"folder"`        // the datastore lies below it
	Engine       string             `json:"engine"`        // unix socket that runs machines
	Control      string             `json:"control"`       // unix socket to listen on: guests' news, faults on demand
	Certificate  string             `json:"certificate"`   // PEM, with its chain
	Key          string             `json:"key"`           // PEM
	User         string             `json:"user"`          // the one account
	Password     string             `json:"password"`      // of it
	Datacenter   string             `json:"datacenter"`    // inventory names
	Cluster      string             `json:"cluster"`       //
	Hosts        []string           `json:"hosts"`         //
	Datastore    string             `json:"datastore"`     //
	Networks     map[string]network `json:"networks"`      // port groups of every host
	CPUs         int16              `json:"cpus"`          // of each host, as shown
	Memory       int64              `json:"memory"`        // of each host, in bytes, as shown
	MaxVCPUs     int32              `json:"max_vcpus"`     // of a machine
	LeaseSeconds int                `json:"lease_seconds"` // an import without a word dies after this time
	Latency      int                `json:"latency"`       // milliseconds added to every request
}

type network struct {
	VLAN int32 `json:"vlan"`
}

func main() {
	log.SetFlags(0)
	stdin := bufio.NewReader(os.Stdin)
	line, err := stdin.ReadBytes('\n')
	if err != nil {
		log.Fatalf("no settings on stdin: %s", err)
	}
	var s settings
	if err := json.Unmarshal(line, &s); err != nil {
		log.Fatalf("settings on stdin: %s", err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		stop <- os.Interrupt
	}()
	t, err := newTwin(s)
	if err != nil {
		log.Fatal(err)
	}
	if err := t.serve(); err != nil {
		log.Fatal(err)
	}
	<-stop
	os.Exit(0) // no farewell: sockets close with the process, and the folder belongs to the parent
}

// serve opens the two doors, the TLS one for clients and the control socket, and says so.
func (t *twin) serve() error {
	pair, err := tls.LoadX509KeyPair(t.settings.Certificate, t.settings.Key)
	if err != nil {
		return err
	}
	service := t.model.Service
	service.RegisterEndpoints = true
	service.ServeMux = http.NewServeMux()
	service.Listen = &url.URL{Host: t.settings.Listen, User: url.UserPassword(t.settings.User, t.settings.Password)}
	service.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	t.registry().Handler = t.hook
	server := service.NewServer()
	t.front.inner = server.Config.Handler
	server.Config.Handler = t.front
	t.front.open() // whoever connected before this line waits for it
	if err := t.listenControl(); err != nil {
		return err
	}
	ready, err := json.Marshal(map[string]string{"address": server.URL.Host})
	if err != nil {
		return err
	}
	_, err = fmt.Println(string(ready))
	return err
}
