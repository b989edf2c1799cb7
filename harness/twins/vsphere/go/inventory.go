package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"syscall"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// What clients negotiate by; the simulator's own 6.5 would hide what newer clients speak.
const apiVersion = "8.0.2.0"

// newTwin makes the inventory: one datacenter, one cluster of the named hosts, one datastore, the named port groups.
func newTwin(s settings) (*twin, error) {
	model := simulator.VPX()
	model.Datacenter, model.Cluster, model.ClusterHost, model.Host = 0, 0, 0, 0
	model.Datastore, model.Portgroup, model.Machine = 0, 0, 0
	about := &model.ServiceContent.About
	about.ApiVersion, about.Version = apiVersion, "8.0.2"
	about.FullName = fmt.Sprintf("VMware vCenter Server %s (twin: QEMU behind govmomi's simulator)", about.Version)
	if err := model.Create(); err != nil {
		return nil, err
	}
	model.Remove() // its directory for datastores: ours lies in the twin's folder
	t := &twin{settings: s, model: model}
	if err := t.init(); err != nil {
		return nil, err
	}
	ctx := context.Background()
	client, err := vim25.NewClient(ctx, model.Service)
	if err != nil {
		return nil, err
	}
	datacenter, err := object.NewRootFolder(client).CreateDatacenter(ctx, s.Datacenter)
	if err != nil {
		return nil, err
	}
	folders, err := datacenter.Folders(ctx)
	if err != nil {
		return nil, err
	}
	cluster, err := folders.HostFolder.CreateCluster(ctx, s.Cluster, types.ClusterConfigSpecEx{})
	if err != nil {
		return nil, err
	}
	t.datastoreDir = filepath.Join(s.Folder, "datastore")
	if err := os.MkdirAll(t.datastoreDir, 0o700); err != nil {
		return nil, err
	}
	for _, name := range s.Hosts {
		if err := t.addHost(ctx, client, cluster, name); err != nil {
			return nil, fmt.Errorf("host %s: %w", name, err)
		}
	}
	t.refreshSpace(t.context())
	return t, nil
}

func (t *twin) addHost(ctx context.Context, client *vim25.Client, cluster *object.ClusterComputeResource, name string) error {
	task, err := cluster.AddHost(ctx, types.HostConnectSpec{HostName: name}, true, nil, nil)
	if err != nil {
		return err
	}
	info, err := task.WaitForResult(ctx, nil)
	if err != nil {
		return err
	}
	ref := info.Result.(types.ManagedObjectReference)
	host := t.registry().Get(ref).(*simulator.HostSystem)
	t.describeHost(host)
	manager := object.NewHostSystem(client, ref).ConfigManager()
	store, err := manager.DatastoreSystem(ctx)
	if err != nil {
		return err
	}
	if _, err := store.CreateLocalDatastore(ctx, t.settings.Datastore, t.datastoreDir); err != nil {
		return err
	}
	return t.addNetworks(ctx, client, host)
}

// describeHost shows the capacity that the lab gave, and the host time that the simulator lacks.
func (t *twin) describeHost(host *simulator.HostSystem) {
	hardware := host.Summary.Hardware
	hardware.NumCpuCores, hardware.NumCpuThreads, hardware.NumCpuPkgs = t.settings.CPUs, t.settings.CPUs, 1
	hardware.MemorySize = t.settings.Memory
	host.Hardware.CpuInfo.NumCpuCores = t.settings.CPUs
	host.Hardware.CpuInfo.NumCpuThreads = t.settings.CPUs
	host.Hardware.CpuInfo.NumCpuPackages = 1
	host.Hardware.MemorySize = t.settings.Memory
	host.Capability.MaxSupportedVcpus = t.settings.MaxVCPUs
	clock := &hostClock{}
	clock.Self = types.ManagedObjectReference{Type: "HostDateTimeSystem", Value: "dateTimeSystem-" + host.Self.Value}
	clock.DateTimeInfo.TimeZone = types.HostDateTimeSystemTimeZone{Key: "UTC", Name: "UTC", Description: "UTC"}
	reference := t.registry().Put(clock).Reference()
	host.ConfigManager.DateTimeSystem = &reference
	host.Config.Product.Version, host.Config.Product.ApiVersion = "8.0.2", apiVersion
	host.Config.Product.FullName = "VMware ESXi 8.0.2 (twin: QEMU behind govmomi's simulator)"
	host.Summary.Config.Product = &host.Config.Product
}

func (t *twin) addNetworks(ctx context.Context, client *vim25.Client, host *simulator.HostSystem) error {
	if host.ConfigManager.NetworkSystem == nil {
		return fmt.Errorf("no network system")
	}
	system := object.NewHostNetworkSystem(client, *host.ConfigManager.NetworkSystem)
	names := make([]string, 0, len(t.settings.Networks))
	for name := range t.settings.Networks {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if t.portGroup(name) != nil {
			t.attachNetwork(host, name)
			continue // the simulator's template has "VM Network", and hosts of one cluster share what has one name
		}
		group := types.HostPortGroupSpec{Name: name, VlanId: t.settings.Networks[name].VLAN, VswitchName: "vSwitch0"}
		if err := system.AddPortGroup(ctx, group); err != nil {
			return fmt.Errorf("port group %s: %w", name, err)
		}
		t.attachNetwork(host, name)
	}
	return nil
}

func (t *twin) attachNetwork(host *simulator.HostSystem, name string) {
	ref := t.portGroup(name).Reference()
	for _, known := range host.Network {
		if known == ref {
			return
		}
	}
	host.Network = append(host.Network, ref)
}

// portGroup finds a network of the one datacenter by its name.
func (t *twin) portGroup(name string) mo.Reference {
	for _, entity := range t.registry().All("Network") {
		if entity.Entity().Name == name {
			return entity
		}
	}
	return nil
}

// refreshSpace shows the real room below the twin's folder, or the little that a test planned.
func (t *twin) refreshSpace(ctx *simulator.Context) {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(t.datastoreDir, &stat); err != nil {
		return
	}
	capacity, free := int64(stat.Blocks)*stat.Bsize, int64(stat.Bavail)*stat.Bsize
	if planned := t.plan.freeSpace(); planned >= 0 {
		free = planned
	}
	for _, entity := range t.registry().All("Datastore") {
		store := entity.(*simulator.Datastore)
		ctx.WithLock(store, func() {
			store.Info.GetDatastoreInfo().FreeSpace = free
			ctx.Update(store, []types.PropertyChange{
				{Name: "summary.capacity", Val: capacity},
				{Name: "summary.freeSpace", Val: free},
			})
		})
	}
}
