//! From a platform file to what a stand-in serves: the parts of a scenario that describe hardware.
//!
//! Physical SMMUs, endpoints and faults that are armed from the beginning are taken; software, loads and steps are the
//! kernel's business here and are left out. Addresses and interrupt numbers are those of the machine that QEMU makes.

use std::fmt;

use models::faults::Which;
use models::psmmu::PsmmuConfig;
use models::smmu::registers::WINDOW;
use scenario::Scenario;
use scenario::model::Behind;
use scenario::platform::{EndpointKind, FaultKind};
use scenario::run::{occasions, psmmu_config, set_fault};

/// Most pSMMUs of a stand-in: what the machine's address space has windows for.
pub const SMMUS_MAX: usize = 5;
/// Most endpoints: the slots of bus 0 that QEMU leaves free.
pub const ENDPOINTS_MAX: usize = 24;

/// What is served.
#[derive(Clone, Debug, PartialEq)]
pub struct Platform {
    /// Its title.
    pub title: String,
    /// The pSMMUs.
    pub smmus: Vec<Smmu>,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// A pSMMU.
#[derive(Clone, Debug, PartialEq)]
pub struct Smmu {
    /// Its name.
    pub name: String,
    /// What it is made of. Addresses and wires are still to be set.
    pub config: PsmmuConfig,
}

/// What an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An NVM Express controller.
    Nvme,
    /// A DMA tester.
    Tester,
}

/// An endpoint: one PCI function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The pSMMU in front of it, by number.
    pub smmu: u16,
    /// Its StreamID.
    pub sid: u32,
    /// It can use ATS.
    pub ats: bool,
    /// Width of PASIDs in bits, 0 for none.
    pub pasid_bits: u8,
    /// ATS invalidations that it does not notice.
    pub silent: Which,
}

/// What a stand-in cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit(String);

impl Unfit {
    pub(crate) fn new(why: String) -> Self {
        Self(why)
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unfit {}

impl Platform {
    /// The hardware of a scenario.
    ///
    /// # Errors
    /// It has parts that cannot be put under a kernel in QEMU, or too many.
    pub fn of(scenario: &Scenario) -> Result<Self, Unfit> {
        if scenario.psmmus.is_empty() {
            return Err(Unfit("there is no [psmmu...] in it; a stand-in needs at least one".to_owned()));
        }
        if scenario.psmmus.len() > SMMUS_MAX {
            let n = scenario.psmmus.len();
            return Err(Unfit(format!("it has {n} psmmus; a stand-in takes at most {SMMUS_MAX}")));
        }
        if scenario.endpoints.len() > ENDPOINTS_MAX {
            let n = scenario.endpoints.len();
            return Err(Unfit(format!("it has {n} endpoints; a stand-in takes at most {ENDPOINTS_MAX}")));
        }
        if let Some(pair) = scenario.pairs.first() {
            let name = &pair.name;
            return Err(Unfit(format!(
                "`{name}` is a register_broadcast; a stand-in takes physical SMMUs only"
            )));
        }
        let mut smmus: Vec<Smmu> = scenario
            .psmmus
            .iter()
            .enumerate()
            .map(|(i, p)| Smmu { name: p.name.clone(), config: psmmu_config(i, p) })
            .collect();
        if let Some(smmu) = smmus.iter().find(|smmu| smmu.config.idr.window() > WINDOW) {
            let name = &smmu.name;
            return Err(Unfit(format!(
                "the ID registers of `{name}` show enhanced command queues or VATOS; a stand-in has room for register pages 0 and 1 only"
            )));
        }
        let mut endpoints = scenario.endpoints.iter().map(endpoint).collect::<Result<Vec<_>, _>>()?;
        for fault in scenario.faults.iter().filter(|f| f.armed) {
            match fault.kind {
                FaultKind::SkipBroadcast => {
                    let name = &fault.name;
                    return Err(Unfit(format!("the fault `{name}` is one of a VMM; here QEMU is the VMM")));
                }
                FaultKind::AtsTimeout => endpoints[fault.at.index].silent = occasions(fault, true),
                _ => set_fault(&mut smmus[fault.at.index].config.faults, fault, true),
            }
        }
        Ok(Self { title: scenario.title.clone(), smmus, endpoints })
    }
}

fn endpoint(e: &scenario::model::Endpoint) -> Result<Endpoint, Unfit> {
    let name = &e.name;
    let kind = match e.kind {
        EndpointKind::Nvme => Kind::Nvme,
        EndpointKind::Dma => Kind::Tester,
        EndpointKind::Stream => {
            return Err(Unfit(format!(
                "the endpoint `{name}` is of kind \"stream\", for which no kernel has a driver; use \"nvme\" or \"dma\""
            )));
        }
    };
    let Behind::Psmmu(smmu) = e.behind else { unreachable!("broadcasting pairs were refused") };
    let [sid] = e.streams[..] else {
        return Err(Unfit(format!(
            "the endpoint `{name}` has extra_streams; a PCI function has one StreamID"
        )));
    };
    Ok(Endpoint {
        name: name.clone(),
        kind,
        smmu: smmu.0 as u16,
        sid,
        ats: e.ats,
        pasid_bits: e.pasid_bits as u8,
        silent: Which::Never,
    })
}

#[cfg(test)]
mod test {
    use crate::machine::{Machine, Size};

    #[test]
    fn register_pages_that_no_plan_has_are_refused() {
        let size = Size { cpus: 1, memory_bytes: 1 << 30, virtualization: false };
        for (idr, refused) in
            [("", false), ("idr1 = 0x8def_5510\naidr = 3", true), ("idr0 = 0x085f_f69b", true)]
        {
            let text = format!("title = \"x\"\n[psmmu.smmu0]\n{idr}\n[endpoint.nvme0]\nkind = \"nvme\"\n");
            let machine = Machine::of_text("x.toml", &text, size);
            let why = machine.err().map(|why| why.to_string());
            assert_eq!(why.is_some_and(|why| why.contains("VATOS")), refused, "{idr}");
        }
    }
}
