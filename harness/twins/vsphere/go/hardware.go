package main

import (
	"strconv"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// hardware is a machine as the engine needs it: everything by files of this machine and plain words.
type hardware struct {
	UUID           string `json:"uuid"`
	Name           string `json:"name"`
	VCPUs          int32  `json:"vcpus"`
	CoresPerSocket int32  `json:"cores_per_socket"`
	NUMANodes      int32  `json:"numa_nodes"` // 0: the guest is shown none
	MaxVCPUs       int32  `json:"max_vcpus"`  // 0: none may be added while it runs
	Memory         int64  `json:"memory"`
	MaxMemory      int64  `json:"max_memory"` // 0: none may be added while it runs
	UEFI           bool   `json:"uefi"`
	Disks          []disk `json:"disks"`
	CD             string `json:"cd"` // empty: nothing in the drive
	Nics           []nic  `json:"nics"`
	Serial         string `json:"serial"`     // the file of the first serial port; empty: it has none
	SerialURI      string `json:"serial_uri"` // where its host listens for who talks to it; empty: nowhere

	// When the tools set the guest's clock: all the time, once after it was suspended, once after it was reverted.
	SyncAlways  bool `json:"sync_always"`
	SyncResume  bool `json:"sync_resume"`
	SyncRestore bool `json:"sync_restore"`

	Guestinfo map[string]string `json:"guestinfo"` // what the guest may read by its tools
}

type disk struct {
	File       string `json:"file"` // the descriptor: the disk's identity
	Size       int64  `json:"size"`
	Serial     string `json:"serial"`
	Bus        string `json:"bus"`
	Controller int32  `json:"controller"`
	Unit       int32  `json:"unit"`
}

type nic struct {
	MAC       string `json:"mac"`
	Network   string `json:"network"`
	Model     string `json:"model"`
	Connected bool   `json:"connected"`
	Slot      int32  `json:"slot"` // the order in which a guest finds its NICs; -1: any
}

// describe reads a machine's configuration; the caller holds its lock, or is alone with it.
func (t *twin) describe(vm *simulator.VirtualMachine, off bool) *hardware {
	config := vm.Config
	h := &hardware{
		UUID: config.Uuid, Name: vm.Name,
		VCPUs: config.Hardware.NumCPU, CoresPerSocket: max(1, config.Hardware.NumCoresPerSocket),
		Memory: int64(config.Hardware.MemoryMB) << 20,
		UEFI:   config.Firmware == string(types.GuestOsDescriptorFirmwareTypeEfi),
		Disks:  []disk{}, Nics: []nic{},
		SyncAlways:  config.Tools != nil && truth(config.Tools.SyncTimeWithHost),
		SyncResume:  !refused(config.ExtraConfig, "time.synchronize.resume.disk"),
		SyncRestore: !refused(config.ExtraConfig, "time.synchronize.restore"),
		Guestinfo:   guestinfo(config.ExtraConfig),
	}
	if truth(config.CpuHotAddEnabled) {
		h.MaxVCPUs = max(t.settings.MaxVCPUs, h.VCPUs)
	}
	h.NUMANodes = numaNodes(config.ExtraConfig, h.VCPUs, h.MaxVCPUs > 0)
	if truth(config.MemoryHotAddEnabled) {
		h.MaxMemory = max(t.settings.Memory, h.Memory)
	}
	identified := strings.EqualFold(extra(config.ExtraConfig, "disk.EnableUUID"), "true")
	devices := object.VirtualDeviceList(config.Hardware.Device)
	for _, device := range devices {
		connected := func() bool {
			link := device.GetVirtualDevice().Connectable
			return link == nil || (off && link.StartConnected) || (!off && link.Connected)
		}
		switch d := device.(type) {
		case *types.VirtualDisk:
			h.Disks = append(h.Disks, t.describeDisk(devices, d, identified))
		case *types.VirtualCdrom:
			if b, ok := d.Backing.(*types.VirtualCdromIsoBackingInfo); ok && connected() {
				h.CD = t.file(b.FileName)
			}
		case *types.VirtualSerialPort:
			if b, ok := d.Backing.(*types.VirtualSerialPortFileBackingInfo); ok && h.Serial == "" {
				h.Serial = t.file(b.FileName)
			}
			listens := string(types.VirtualDeviceURIBackingOptionDirectionServer)
			if b, ok := d.Backing.(*types.VirtualSerialPortURIBackingInfo); ok && b.Direction == listens && h.SerialURI == "" {
				h.SerialURI = b.ServiceURI
			}
		case types.BaseVirtualEthernetCard:
			card := d.GetVirtualEthernetCard()
			slot := int32(-1)
			if card.UnitNumber != nil {
				slot = *card.UnitNumber - firstNicUnit
			}
			h.Nics = append(h.Nics, nic{
				MAC: strings.ToLower(card.MacAddress), Network: networkOf(card), Model: modelOf(device),
				Connected: connected(), Slot: slot,
			})
		}
	}
	return h
}

// numaNodes says how many a guest is shown: none to small machines, nor to those that vCPUs may be added to while they run.
func numaNodes(options []types.BaseOptionValue, vcpus int32, grows bool) int32 {
	least, most := number(options, "numa.vcpu.min", 9), number(options, "numa.vcpu.maxPerVirtualNode", 8)
	if grows || vcpus < least || vcpus <= most {
		return 0
	}
	return (vcpus + most - 1) / most
}

func number(options []types.BaseOptionValue, key string, fallback int32) int32 {
	if value, err := strconv.Atoi(extra(options, key)); err == nil && value > 0 {
		return int32(value)
	}
	return fallback
}

// NICs are units 7 to 16 of the PCI controller.
const firstNicUnit = 7

func (t *twin) describeDisk(devices object.VirtualDeviceList, d *types.VirtualDisk, identified bool) disk {
	shown := disk{File: t.file(fileOf(d)), Size: d.CapacityInBytes, Bus: "pvscsi"}
	if d.UnitNumber != nil {
		shown.Unit = *d.UnitNumber
	}
	switch c := devices.FindByKey(d.ControllerKey).(type) {
	case *types.VirtualLsiLogicController:
		shown.Bus, shown.Controller = "lsilogic", c.BusNumber
	case *types.VirtualLsiLogicSASController:
		shown.Bus, shown.Controller = "lsisas", c.BusNumber
	case *types.VirtualAHCIController:
		shown.Bus, shown.Controller = "sata", c.BusNumber
	case *types.VirtualIDEController:
		shown.Bus, shown.Controller = "ide", c.BusNumber
	case *types.ParaVirtualSCSIController:
		shown.Controller = c.BusNumber
	}
	// With disk.EnableUUID a guest reads the disk's UUID, digits alone, as its unit serial number; without, nothing.
	if b, ok := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok && identified {
		shown.Serial = strings.ToLower(strings.NewReplacer("-", "", " ", "").Replace(b.Uuid))
	}
	return shown
}

func fileOf(device types.BaseVirtualDevice) string {
	if b, ok := device.GetVirtualDevice().Backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
		return b.GetVirtualDeviceFileBackingInfo().FileName
	}
	return ""
}

func networkOf(card *types.VirtualEthernetCard) string {
	if b, ok := card.Backing.(*types.VirtualEthernetCardNetworkBackingInfo); ok {
		return b.DeviceName
	}
	return ""
}

func modelOf(device types.BaseVirtualDevice) string {
	switch device.(type) {
	case *types.VirtualE1000:
		return "e1000"
	case *types.VirtualE1000e:
		return "e1000e"
	}
	return "vmxnet3"
}

func extra(options []types.BaseOptionValue, key string) string {
	for _, option := range options {
		if o := option.GetOptionValue(); strings.EqualFold(o.Key, key) {
			if text, ok := o.Value.(string); ok {
				return text
			}
			if yes, ok := o.Value.(bool); ok && yes {
				return "TRUE"
			}
		}
	}
	return ""
}

// refused says whether an option that is on by default is switched off.
func refused(options []types.BaseOptionValue, key string) bool {
	said := extra(options, key)
	return said == "0" || strings.EqualFold(said, "false")
}

func truth(b *bool) bool { return b != nil && *b }
