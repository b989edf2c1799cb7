// A plain vcsim for tests of the driver: no guests, no TLS, loopback only, and gone when its stdin is closed.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"

	_ "github.com/vmware/govmomi/lookup/simulator"
	_ "github.com/vmware/govmomi/pbm/simulator"
	"github.com/vmware/govmomi/simulator"
	_ "github.com/vmware/govmomi/vapi/simulator"
)

func main() {
	user := flag.String("user", "interop", "the only account")
	password := flag.String("password", "secret", "its password")
	esx := flag.Bool("esx", false, "an ESXi that stands alone")
	machines := flag.Int("vm", 0, "machines of somebody else's, per pool")
	stores := flag.Int("ds", 1, "datastores, each of which all hosts have")
	slow := flag.String("slow", "", "a task's name that takes longer than any other, as PowerOn")
	flag.Parse()
	model := simulator.VPX()
	if *esx {
		model = simulator.ESX()
	}
	model.Machine = *machines
	model.Datastore = *stores
	model.Autostart = false
	if *slow != "" {
		// Without the handoff of its lock, an object can be read while its task runs, as on a real host.
		simulator.TaskDelay.MethodDelay = map[string]int{*slow: 3000, "LockHandoff": 0}
	}
	if err := model.Create(); err != nil {
		log.Fatal(err)
	}
	service := model.Service
	service.RegisterEndpoints = true
	service.Listen = &url.URL{Host: "127.0.0.1:0", User: url.UserPassword(*user, *password)}
	service.ServeMux = http.NewServeMux()
	server := service.NewServer()
	fmt.Println(server.URL.Host)
	io.Copy(io.Discard, os.Stdin)
	server.Close()
	model.Remove()
}
