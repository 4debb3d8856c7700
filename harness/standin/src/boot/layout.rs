//! The address plan: where QEMU, its boot code and Linux find each function, register page and interrupt.
//!
//! ```text
//!   bus 0x00  00.0 host bridge   NN.0 endpoints (translated)   other slots: QEMU's own devices (untranslated)
//!             1e.0 pxb-pcie ---- bus 0x40  0i.0 root port ---- bus 0x41+i  00.0 carrier of SMMU i
//! ```
//! Linux is told of buses 0 to 0x3f and of the memory below [`CARRIERS`] only, so nothing moves or disables a carrier.
use std::{error, fmt};

use models::smmu::pmcg;

use super::virt;

/// First address of the carriers' BARs; Linux may give what is below to other devices.
pub const CARRIERS: u64 = 0x3000_0000;
/// Size of a carrier's only BAR (BAR0: 32 bits, not prefetchable).
pub const CARRIER_SIZE: u64 = 0x0100_0000;
/// Offset of SMMU register page 0 in a carrier's BAR; page 1 follows at 64 KiB.
pub const SMMU_OFFSET: u64 = 0;
/// Size of both SMMU register pages.
pub const SMMU_SIZE: u64 = 0x2_0000;
/// Offset of the CMDQV in a carrier's BAR.
pub const CMDQV_OFFSET: u64 = 0x10_0000;
/// Size of the CMDQV's registers.
pub const CMDQV_SIZE: u64 = 0x83_0000;
/// Offset of the performance monitors in a carrier's BAR: two pages of the TCU's group, two of the TBU's.
pub const PMCG_OFFSET: u64 = 0xa0_0000;
/// The most SMMUs that the memory window above [`CARRIERS`] is used for.
pub const SMMUS_MAX: usize = 5;
/// Buses that Linux is told of: 0 to this one.
pub const LAST_BUS: u8 = 0x3f;
/// Size of the configuration space (ECAM) of these buses.
pub const ECAM_SIZE: u64 = (LAST_BUS as u64 + 1) << 20;
/// Bus of the expander that hides the root ports of the carriers.
pub const HIDDEN_BUS: u8 = 0x40;
/// Slot of that expander (`pxb-pcie`) on bus 0.
pub const HIDDEN_SLOT: u8 = 0x1e;

/// Distance of the boot stub from the end of RAM.
const STUB_BELOW_TOP: u64 = 0x10_0000;
/// Distance of the ACPI tables from the end of RAM.
const TABLES_BELOW_TOP: u64 = 0x20_0000;
const MEMORY_MIN: u64 = 256 << 20;
/// Wired interrupts of an SMMU with CMDQV.
const WIRED: u32 = 4;
/// Wired interrupts of its performance monitors.
const PMCG_WIRED: u32 = 2;

/// What a machine has, in the words of its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// Physical SMMUs, one to [`SMMUS_MAX`].
    pub smmus: Vec<Smmu>,
    /// PCI functions whose DMA an SMMU translates.
    pub endpoints: Vec<Endpoint>,
    /// CPUs, one to eight.
    pub cpus: u32,
    /// RAM in bytes, a multiple of 1 MiB, at least 256 MiB.
    pub memory_bytes: u64,
    /// Whether CPUs have EL2, so that Linux can run guests of its own.
    pub virtualization: bool,
}

/// A physical SMMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smmu {
    /// Whether a CMDQV sits beside it.
    pub cmdqv: bool,
    /// Whether it has performance monitors.
    pub pmcg: bool,
    /// Whether these may interrupt by MSI.
    pub pmcg_msi: bool,
    /// Whether it may interrupt by MSI (IDR0.MSI); otherwise, and under ACPI, by the wired INTIDs of [`Wires`].
    pub msi: bool,
}

/// A PCI function behind an SMMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name; the socket is `NAME.sock`.
    pub name: String,
    /// Which of [`Platform::smmus`] translates for it.
    pub smmu: usize,
    /// The StreamID its DMA carries at that SMMU.
    pub stream: u32,
    /// Its slot on bus 0: 1 to 0x1f without [`HIDDEN_SLOT`].
    pub slot: u8,
    /// Whether it may send ATS requests.
    pub ats: bool,
}

/// A PCI function's bus, device and function number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bdf {
    /// Bus, 0 to 255.
    pub bus: u8,
    /// Device, 0 to 31.
    pub device: u8,
    /// Function, 0 to 7.
    pub function: u8,
}

impl Bdf {
    /// Function 0 of a device.
    pub const fn new(bus: u8, device: u8) -> Self {
        Self { bus, device, function: 0 }
    }

    /// The Requester ID (PCIe 2.2.6.2).
    pub fn requester(self) -> u16 {
        u16::from(self.bus) << 8 | u16::from(self.device) << 3 | u16::from(self.function)
    }

    /// The CPU address of a register of its configuration space.
    pub fn configuration(self, register: u16) -> u64 {
        virt::ECAM + (u64::from(self.requester()) << 12) + u64::from(register)
    }
}

impl fmt::Display for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus, self.device, self.function)
    }
}

/// INTIDs that an SMMU raises by a write of the INTID to [`virt::V2M_DOORBELL`]; edge-triggered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wires {
    /// Event queue.
    pub eventq: u32,
    /// PRI queue.
    pub priq: u32,
    /// Global errors.
    pub gerror: u32,
    /// Errors of the CMDQV; unused without one.
    pub cmdqv: u32,
}

/// Where a counter group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PmcgPlace {
    /// Addresses of its pages 0 and 1.
    pub pages: [u64; 2],
    /// Its wired interrupt.
    pub wire: u32,
    /// Whether it may use MSIs.
    pub msi: bool,
}

/// Where an SMMU is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmmuPlace {
    /// The function whose BAR0 holds its registers.
    pub carrier: Bdf,
    /// The root port in front of it.
    pub root_port: Bdf,
    /// Address of the carrier's BAR0.
    pub bar: u64,
    /// Address of register page 0.
    pub registers: u64,
    /// Address of the CMDQV's registers.
    pub cmdqv: Option<u64>,
    /// Its counter groups: none, or that of the TCU and that of the TBU.
    pub pmcgs: Vec<PmcgPlace>,
    /// Its wired interrupts.
    pub wires: Wires,
    /// Whether it may use MSIs.
    pub msi: bool,
    /// Its number in ACPI: the IORT node's identifier and the `_UID` of its CMDQV.
    pub identifier: u32,
}

/// The address plan of a [`Platform`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The platform itself.
    pub platform: Platform,
    /// Places of its SMMUs, in the same order.
    pub smmus: Vec<SmmuPlace>,
    /// Where the boot stub is loaded, and CPU 0 starts.
    pub stub: u64,
    /// Where the ACPI tables are loaded.
    pub tables: u64,
    /// First INTID after those that Linux may use for MSIs; wired ones follow to the end of the frame.
    pub msi_end: u32,
}

impl Layout {
    /// Plans a machine.
    ///
    /// # Errors
    /// A count or number that the machine cannot have, or that appears twice.
    pub fn new(platform: &Platform) -> Result<Self, LayoutError> {
        check(platform)?;
        let frame_end = virt::V2M_BASE + virt::V2M_COUNT;
        let monitored = platform.smmus.iter().filter(|smmu| smmu.pmcg).count() as u32;
        let pmcg_wires = frame_end - PMCG_WIRED * monitored;
        let msi_end = pmcg_wires - WIRED * platform.smmus.len() as u32;
        let mut pmcg_wires = pmcg_wires..frame_end;
        let mut groups = |bar: u64, msi: bool| {
            let place = |unit: u64, wire: u32| {
                let page = |n: u64| bar + PMCG_OFFSET + (2 * unit + n) * pmcg::STRIDE;
                PmcgPlace { pages: [page(0), page(1)], wire, msi }
            };
            (0..)
                .zip(pmcg_wires.by_ref().take(PMCG_WIRED as usize))
                .map(|(unit, wire)| place(unit, wire))
                .collect()
        };
        let smmus = (0u8..)
            .zip(&platform.smmus)
            .map(|(i, smmu)| {
                let bar = CARRIERS + u64::from(i) * CARRIER_SIZE;
                let wire = msi_end + WIRED * u32::from(i);
                SmmuPlace {
                    carrier: Bdf::new(HIDDEN_BUS + 1 + i, 0),
                    root_port: Bdf::new(HIDDEN_BUS, i),
                    bar,
                    registers: bar + SMMU_OFFSET,
                    cmdqv: smmu.cmdqv.then_some(bar + CMDQV_OFFSET),
                    pmcgs: if smmu.pmcg { groups(bar, smmu.pmcg_msi) } else { Vec::new() },
                    wires: Wires { eventq: wire, priq: wire + 1, gerror: wire + 2, cmdqv: wire + 3 },
                    msi: smmu.msi,
                    identifier: u32::from(i),
                }
            })
            .collect();
        let top = virt::RAM + platform.memory_bytes;
        Ok(Self {
            platform: platform.clone(),
            smmus,
            stub: top - STUB_BELOW_TOP,
            tables: top - TABLES_BELOW_TOP,
            msi_end,
        })
    }

    /// Each endpoint with its function number.
    pub fn endpoints(&self) -> impl Iterator<Item = (Bdf, &Endpoint)> {
        self.platform.endpoints.iter().map(|endpoint| (Bdf::new(0, endpoint.slot), endpoint))
    }

    /// End (exclusive) of RAM.
    pub fn ram_end(&self) -> u64 {
        virt::RAM + self.platform.memory_bytes
    }

    /// Bytes the ACPI tables may take.
    pub fn tables_size(&self) -> u64 {
        self.stub - self.tables
    }
}

/// Why a platform cannot be laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// Not one to [`SMMUS_MAX`] SMMUs.
    Smmus(usize),
    /// Not one to eight CPUs.
    Cpus(u32),
    /// RAM too small or not whole MiB.
    Memory(u64),
    /// An endpoint names an SMMU that is not there.
    NoSuchSmmu(String),
    /// An endpoint's slot is outside bus 0's free ones, or taken.
    Slot(String, u8),
    /// Two endpoints of one SMMU have the same StreamID.
    Stream(String, u32),
    /// A name that is no plain file name, or is taken.
    Name(String),
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Smmus(n) => write!(f, "{n} SMMUs: a machine has 1 to {SMMUS_MAX}"),
            Self::Cpus(n) => write!(f, "{n} CPUs: a GICv2 serves 1 to {}", virt::GIC_CPUS),
            Self::Memory(n) => write!(f, "{n} bytes of memory: whole MiB, at least {} MiB", MEMORY_MIN >> 20),
            Self::NoSuchSmmu(name) => write!(f, "endpoint {name}: its SMMU does not exist"),
            Self::Slot(name, slot) => write!(
                f,
                "endpoint {name}: slot {slot:#x} is taken, or not in 0x1 to 0x1f without {HIDDEN_SLOT:#x}"
            ),
            Self::Stream(name, stream) => {
                write!(f, "endpoint {name}: StreamID {stream:#x} is another endpoint's of the same SMMU")
            }
            Self::Name(name) => {
                write!(f, "endpoint {name:?}: the name is taken, or does not serve as a file name")
            }
        }
    }
}

impl error::Error for LayoutError {}

fn check(platform: &Platform) -> Result<(), LayoutError> {
    if !(1..=SMMUS_MAX).contains(&platform.smmus.len()) {
        return Err(LayoutError::Smmus(platform.smmus.len()));
    }
    if !(1..=virt::GIC_CPUS).contains(&platform.cpus) {
        return Err(LayoutError::Cpus(platform.cpus));
    }
    if platform.memory_bytes < MEMORY_MIN || !platform.memory_bytes.is_multiple_of(1 << 20) {
        return Err(LayoutError::Memory(platform.memory_bytes));
    }
    for (i, endpoint) in platform.endpoints.iter().enumerate() {
        let others = &platform.endpoints[..i];
        let name = endpoint.name.clone();
        if endpoint.smmu >= platform.smmus.len() {
            return Err(LayoutError::NoSuchSmmu(name));
        }
        if !(1..=0x1f).contains(&endpoint.slot)
            || endpoint.slot == HIDDEN_SLOT
            || others.iter().any(|o| o.slot == endpoint.slot)
        {
            return Err(LayoutError::Slot(name, endpoint.slot));
        }
        if others.iter().any(|o| (o.smmu, o.stream) == (endpoint.smmu, endpoint.stream)) {
            return Err(LayoutError::Stream(name, endpoint.stream));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let carriers = (0..platform.smmus.len()).any(|i| name == carrier_name(i));
        if name.is_empty() || !name.chars().all(plain) || carriers || others.iter().any(|o| o.name == name) {
            return Err(LayoutError::Name(name));
        }
    }
    Ok(())
}

/// Name of an SMMU's carrier; its socket is `NAME.sock`.
pub fn carrier_name(smmu: usize) -> String {
    format!("smmu{smmu}")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// `smmus` SMMUs with CMDQV, two endpoints behind each of the first two.
    pub(crate) fn platform(smmus: usize) -> Platform {
        let endpoint = |i: usize| Endpoint {
            name: format!("nvme{i}"),
            smmu: i % smmus,
            stream: 0x28 + 8 * i as u32,
            slot: 5 + i as u8,
            ats: false,
        };
        Platform {
            smmus: vec![Smmu { cmdqv: true, pmcg: false, pmcg_msi: false, msi: true }; smmus],
            endpoints: (0..2 * smmus.min(2)).map(endpoint).collect(),
            cpus: 2,
            memory_bytes: 1 << 30,
            virtualization: false,
        }
    }

    #[test]
    fn one_smmu_is_where_the_trial_had_it() {
        let layout = Layout::new(&platform(1)).unwrap();
        let place = &layout.smmus[0];
        assert_eq!(
            (place.root_port.to_string(), place.carrier.to_string()),
            ("40:00.0".into(), "41:00.0".into())
        );
        assert_eq!(
            (place.registers, place.cmdqv, layout.stub),
            (0x3000_0000, Some(0x3010_0000), 0x7ff0_0000)
        );
        assert_eq!(place.carrier.configuration(0x10), 0x40_1410_0010);
    }

    #[test]
    fn parts_do_not_overlap() {
        for n in 1..=SMMUS_MAX {
            let layout = Layout::new(&platform(n)).unwrap();
            let mut interrupts = Vec::new();
            for (i, place) in layout.smmus.iter().enumerate() {
                assert!(place.bar >= CARRIERS && place.bar + CARRIER_SIZE <= virt::PCI_MEMORY_END);
                assert_eq!(place.bar % CARRIER_SIZE, 0);
                assert!(
                    layout.smmus[..i]
                        .iter()
                        .all(|o| o.bar + CARRIER_SIZE <= place.bar && o.carrier < place.carrier)
                );
                assert!(place.carrier.bus > LAST_BUS && place.root_port.bus > LAST_BUS);
                let Wires { eventq, priq, gerror, cmdqv } = place.wires;
                interrupts.extend([eventq, priq, gerror, cmdqv]);
            }
            let expected: Vec<u32> = (layout.msi_end..virt::V2M_BASE + virt::V2M_COUNT).collect();
            assert_eq!(interrupts, expected);
            assert!(layout.tables + layout.tables_size() <= layout.stub && layout.stub < layout.ram_end());
        }
        const { assert!(CMDQV_OFFSET + CMDQV_SIZE <= PMCG_OFFSET && SMMU_OFFSET + SMMU_SIZE <= CMDQV_OFFSET) };
        const { assert!(PMCG_OFFSET + pmcg::REGION <= CARRIER_SIZE) };
    }

    /// Performance monitors take wires behind all others and move nothing else.
    #[test]
    fn monitors_are_behind_the_rest() {
        let plain = Layout::new(&platform(3)).unwrap();
        let mut monitored = platform(3);
        (monitored.smmus[0].pmcg, monitored.smmus[2].pmcg) = (true, true);
        let layout = Layout::new(&monitored).unwrap();
        assert_eq!(layout.msi_end, plain.msi_end - 4);
        let groups: Vec<_> =
            layout.smmus.iter().flat_map(|s| s.pmcgs.iter().map(move |p| (s.identifier, *p))).collect();
        let end = virt::V2M_BASE + virt::V2M_COUNT;
        let group = |smmu: u32, unit: u64, wire| {
            let base = CARRIERS + u64::from(smmu) * CARRIER_SIZE + 0xa0_0000 + unit * 0x2_0000;
            (smmu, PmcgPlace { pages: [base, base + 0x1_0000], wire, msi: false })
        };
        assert_eq!(
            groups,
            [group(0, 0, end - 4), group(0, 1, end - 3), group(2, 0, end - 2), group(2, 1, end - 1)]
        );
        for (smmu, same) in layout.smmus.iter().zip(&plain.smmus) {
            assert_eq!((smmu.bar, smmu.registers, smmu.cmdqv), (same.bar, same.registers, same.cmdqv));
            assert_eq!(smmu.wires.cmdqv, same.wires.cmdqv - 4);
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        type Change = fn(&mut Platform);
        let rows: [(Change, LayoutError); 11] = [
            (|p| p.smmus.clear(), LayoutError::Smmus(0)),
            (|p| p.smmus = vec![p.smmus[0].clone(); 6], LayoutError::Smmus(6)),
            (|p| p.cpus = 9, LayoutError::Cpus(9)),
            (|p| p.cpus = 0, LayoutError::Cpus(0)),
            (|p| p.memory_bytes = 1 << 20, LayoutError::Memory(1 << 20)),
            (|p| p.endpoints[0].smmu = 2, LayoutError::NoSuchSmmu("nvme0".into())),
            (|p| p.endpoints[1].slot = 5, LayoutError::Slot("nvme1".into(), 5)),
            (|p| p.endpoints[0].slot = HIDDEN_SLOT, LayoutError::Slot("nvme0".into(), HIDDEN_SLOT)),
            (|p| p.endpoints[2].stream = 0x28, LayoutError::Stream("nvme2".into(), 0x28)),
            (|p| p.endpoints[1].name = "../x".into(), LayoutError::Name("../x".into())),
            (|p| p.endpoints[1].name = "smmu1".into(), LayoutError::Name("smmu1".into())),
        ];
        for (change, error) in rows {
            let mut platform = platform(2);
            change(&mut platform);
            assert_eq!(Layout::new(&platform), Err(error));
        }
        let mut same_stream_elsewhere = platform(2);
        same_stream_elsewhere.endpoints[1].stream = 0x28;
        assert!(Layout::new(&same_stream_elsewhere).is_ok());
    }
}
