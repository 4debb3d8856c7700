//! A guest: what the scenario says of a VM, and the QEMU that becomes it.

use scenario::Scenario;
use scenario::platform::Policy;

use crate::boot::layout::Bdf;
use crate::machine::Machine;
use crate::platform::Unfit;

/// Memory below which the firmware of a guest cannot unpack its kernel.
pub const MEMORY_MIN: u64 = 192 << 20;
/// Buses between the expanders of two vSMMUs: one for the expander, one for each root port behind it.
const BUSES: usize = 16;

/// A guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Its name.
    pub name: String,
    /// Virtual CPUs.
    pub cpus: u64,
    /// Bytes of RAM.
    pub memory_bytes: u64,
    /// The SMMUs that it sees.
    pub vsmmus: Vec<Vsmmu>,
}

/// An SMMU as a guest sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vsmmu {
    /// Its name.
    pub name: String,
    /// Whether the guest owns VCMDQs; otherwise QEMU forwards its commands.
    pub passthrough: bool,
    /// Its devices, by number of the endpoint.
    pub endpoints: Vec<usize>,
    /// The pSMMUs in front of these.
    pub psmmus: Vec<usize>,
}

impl Vsmmu {
    /// Whether its devices are behind several pSMMUs. A VINTF's page leads to one of them, and so does a viommu.
    pub fn spans(&self) -> bool {
        self.psmmus.len() > 1
    }
}

impl Guest {
    /// The guests of a scenario.
    pub fn all(scenario: &Scenario) -> Vec<Self> {
        let vsmmus = |vm: usize| {
            scenario.vsmmus.iter().filter(move |v| v.vm.0 == vm).map(|v| Vsmmu {
                name: v.name.clone(),
                passthrough: v.policy == Policy::Passthrough,
                endpoints: v.devices.iter().map(|(endpoint, _)| endpoint.0).collect(),
                psmmus: v.psmmus.iter().map(|psmmu| psmmu.0).collect(),
            })
        };
        let guest = |(i, vm): (usize, &scenario::model::Vm)| Self {
            name: vm.name.clone(),
            cpus: vm.vcpus,
            memory_bytes: vm.memory,
            vsmmus: vsmmus(i).collect(),
        };
        scenario.vms.iter().enumerate().map(guest).collect()
    }

    /// Whether the host's software must refuse it.
    pub fn is_impossible(&self) -> bool {
        self.vsmmus.iter().any(Vsmmu::spans)
    }

    /// The guest's QEMU: everything but kernel, firmware and console.
    pub(super) fn arguments(&self, machine: &Machine) -> Vec<String> {
        let mut line = Line::default();
        line.pair("-machine", "virt,gic-version=host");
        line.pair("-accel", "kvm");
        line.pair("-cpu", "host");
        line.pair("-smp", self.cpus.to_string());
        line.pair("-m", format!("{}M", self.memory_bytes >> 20));
        line.pair("-object", "iommufd,id=iommufd0");
        let places: Vec<Bdf> = machine.layout.endpoints().map(|(bdf, _)| bdf).collect();
        let mut port = 0;
        for (i, vsmmu) in self.vsmmus.iter().enumerate() {
            let (name, bus) = (&vsmmu.name, BUSES * (i + 1));
            line.device(format!("pxb-pcie,id={name}.bus,bus_nr={bus},bus=pcie.0"));
            let on = |is: bool| if is { "on" } else { "off" };
            let ats = vsmmu.endpoints.iter().any(|&e| machine.platform.endpoints[e].ats);
            line.device(format!(
                "arm-smmuv3,id={name},primary-bus={name}.bus,accel=on,cmdqv={},ats={}",
                on(vsmmu.passthrough),
                on(ats)
            ));
            for &endpoint in &vsmmu.endpoints {
                port += 1;
                let id = format!("{name}.port{port}");
                line.device(format!(
                    "pcie-root-port,id={id},bus={name}.bus,chassis={port},slot={port},io-reserve=0"
                ));
                let bdf = places[endpoint];
                line.device(format!("vfio-pci,host=0000:{bdf},iommufd=iommufd0,bus={id}"));
            }
        }
        line.0
    }

    /// Whether QEMU could be asked for it at all.
    pub(super) fn check(&self) -> Result<(), Unfit> {
        let Self { name, cpus, memory_bytes, vsmmus } = self;
        if *memory_bytes < MEMORY_MIN || !memory_bytes.is_multiple_of(1 << 20) {
            return Err(Unfit::new(format!(
                "`{name}` has {} MiB of memory; a guest with firmware and Linux needs whole MiB, at least {} MiB: memory = \"256 MiB\"",
                memory_bytes >> 20,
                MEMORY_MIN >> 20
            )));
        }
        if *cpus > 8 {
            return Err(Unfit::new(format!(
                "`{name}` has {cpus} vcpus; the interrupt controller here serves at most 8"
            )));
        }
        if vsmmus.is_empty() {
            return Err(Unfit::new(format!(
                "`{name}` sees no SMMU: there is no [vsmmu...] with vm = \"{name}\" in the file"
            )));
        }
        if let Some(vsmmu) = vsmmus.iter().find(|v| v.endpoints.len() >= BUSES) {
            return Err(Unfit::new(format!(
                "`{}` has {} devices; a nested run takes at most {} behind one vSMMU",
                vsmmu.name,
                vsmmu.endpoints.len(),
                BUSES - 1
            )));
        }
        Ok(())
    }
}

#[derive(Default)]
struct Line(Vec<String>);

impl Line {
    fn pair(&mut self, option: &str, value: impl Into<String>) {
        self.0.extend([option.to_owned(), value.into()]);
    }
    fn device(&mut self, device: String) {
        self.pair("-device", device);
    }
}
