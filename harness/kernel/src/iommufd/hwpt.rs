//! Page tables: GET_HW_INFO, HWPT_ALLOC from an IOAS, and nested ones (a guest's STE) from a viommu.

use std::sync::Arc;

use models::cpu::Cpu;
use spec::smmu::{Ste, ste::config};

use super::context::{Context, State, same_instance};
use super::host::HostSmmu;
use super::ioas::populate;
use super::kinds::{Area, Kind, Nested, Paging};
use super::object::Id;
use crate::errno::Errno;
use crate::smmu::{Domain, DomainKind};

/// Flags of HWPT_ALLOC.
pub mod hwpt_flags {
    /// Stage 2 that nested tables can stand on.
    pub const NEST_PARENT: u32 = 1;
    /// Dirty tracking.
    pub const DIRTY_TRACKING: u32 = 2;
    /// `fault_id` is valid.
    pub const FAULT_ID_VALID: u32 = 4;
    /// Usable for PASIDs.
    pub const PASID: u32 = 8;
}

/// Data types of HWPT_ALLOC.
pub mod hwpt_data {
    /// No data.
    pub const NONE: u32 = 0;
    /// Two words of a guest's STE.
    pub const ARM_SMMUV3: u32 = 2;
}

/// GET_HW_INFO type: SMMUv3 ID registers.
pub const HW_INFO_ARM_SMMUV3: u32 = 2;
/// GET_HW_INFO type: CMDQV parameters.
pub const HW_INFO_TEGRA241_CMDQV: u32 = 3;

/// Arguments of HWPT_ALLOC.
#[derive(Clone, Debug, Default)]
pub struct HwptAlloc {
    /// See [`hwpt_flags`].
    pub flags: u32,
    /// Selects the pSMMU.
    pub device: u32,
    /// IOAS, nesting parent, or viommu.
    pub pt: u32,
    /// See [`hwpt_data`].
    pub data_type: u32,
    /// The user data; for ARM_SMMUV3 sixteen bytes: STE words 0 and 1, little-endian.
    pub data: Vec<u8>,
}

/// What GET_HW_INFO tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HwInfo {
    /// Raw ID registers of the device's pSMMU.
    ArmSmmuV3 {
        /// IDR0..IDR5.
        idr: [u32; 6],
        /// IIDR.
        iidr: u32,
        /// AIDR.
        aidr: u32,
    },
    /// Parameters of its CMDQV.
    Tegra241Cmdqv {
        /// PARAM.VER.
        version: u8,
        /// log2 of the queues per VINTF.
        log2vcmdqs: u8,
        /// log2 of the SID slots per VINTF.
        log2vsids: u8,
    },
}

/// Bits of STE words 0 and 1 that a guest may set.
const VSTE_MASK: [u64; 2] = [0xf80f_ffff_ffff_ffff, 0x0000_0000_3800_00ff];

impl Context {
    /// IOMMU_GET_HW_INFO. `kind` 0 is the IOMMU's default.
    ///
    /// # Errors
    /// ENOENT: no such device. EOPNOTSUPP: the pSMMU has no such information.
    pub async fn get_hw_info(&self, cpu: &Cpu, device: Id, kind: u32) -> Result<HwInfo, Errno> {
        self.enter(cpu).await;
        let result = self.hw_info(device, kind);
        self.leave(cpu, "GET_HW_INFO", &(device, kind), result)
    }

    fn hw_info(&self, device: Id, kind: u32) -> Result<HwInfo, Errno> {
        let smmu = Arc::clone(&self.state().device(device)?.device.smmu);
        match (kind, smmu.driver.cmdqv()) {
            (0 | HW_INFO_ARM_SMMUV3, _) => {
                let ids = smmu.driver.features().ids;
                Ok(HwInfo::ArmSmmuV3 {
                    idr: [ids.idr0.0 as u32, ids.idr1.0 as u32, 0, ids.idr3.0 as u32, 0, ids.idr5.0 as u32],
                    iidr: ids.iidr,
                    aidr: 0,
                })
            }
            (HW_INFO_TEGRA241_CMDQV, Some(cmdqv)) => Ok(HwInfo::Tegra241Cmdqv {
                version: cmdqv.param().ver() as u8,
                log2vcmdqs: cmdqv.queues_per_vintf().ilog2() as u8,
                log2vsids: cmdqv.sid_slots().ilog2() as u8,
            }),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    /// IOMMU_HWPT_ALLOC.
    ///
    /// # Errors
    /// By the kind of `pt`: EOPNOTSUPP for flags and data it does not take, EINVAL for a device of another instance
    /// or an unknown `pt`, EIO for a guest STE that must not reach hardware, ENOSPC without a free VMID.
    pub async fn hwpt_alloc(&self, cpu: &Cpu, cmd: &HwptAlloc) -> Result<Id, Errno> {
        self.enter(cpu).await;
        let result = self.alloc_hwpt(cpu, cmd).await;
        self.leave(cpu, "HWPT_ALLOC", cmd, result)
    }

    async fn alloc_hwpt(&self, cpu: &Cpu, cmd: &HwptAlloc) -> Result<Id, Errno> {
        if (cmd.data_type == hwpt_data::NONE) != cmd.data.is_empty() {
            return Err(Errno::EINVAL);
        }
        let target = {
            let state = self.state();
            let device = Arc::clone(&state.device(Id(cmd.device))?.device);
            let smmu = Arc::clone(&device.smmu);
            match state.objects.get(Id(cmd.pt)).map(|o| &o.kind) {
                Some(Kind::Ioas(_)) => Target::Ioas(smmu),
                Some(Kind::Paging(parent)) => {
                    let why = "a guest's table nests in a viommu, not in a page table";
                    return Err(state.refusal.because(direct_nesting(cmd, parent), why));
                }
                Some(Kind::Viommu(viommu)) => {
                    if !same_instance(&viommu.smmu, &smmu) {
                        return Err(state.refusal.foreign(&device, "viommu", Id(cmd.pt), &viommu.smmu));
                    }
                    Target::Viommu
                }
                _ => return Err(Errno::EINVAL),
            }
        };
        match target {
            Target::Ioas(smmu) => {
                if cmd.data_type != hwpt_data::NONE {
                    return Err(Errno::EOPNOTSUPP);
                }
                let nest_parent = match cmd.flags & !hwpt_flags::FAULT_ID_VALID {
                    0 => false,
                    hwpt_flags::NEST_PARENT if cmd.flags & hwpt_flags::FAULT_ID_VALID != 0 => {
                        return Err(Errno::EOPNOTSUPP);
                    }
                    hwpt_flags::NEST_PARENT => true,
                    _ => return Err(Errno::EOPNOTSUPP),
                };
                self.new_paging(cpu, Id(cmd.pt), smmu, nest_parent, false).await
            }
            Target::Viommu => {
                let nested = validate_vste(cmd).map_err(|errno| {
                    self.state().refusal.because(errno, "the guest's STE is not what a guest may set")
                })?;
                let mut state = self.state();
                state.objects.hold(nested.viommu);
                Ok(state.objects.insert(Kind::Nested(nested)))
            }
        }
    }

    /// A page table on an IOAS for the instance `smmu`, filled with what the IOAS holds.
    pub(super) async fn new_paging(
        &self,
        cpu: &Cpu,
        ioas: Id,
        smmu: Arc<HostSmmu>,
        nest_parent: bool,
        automatic: bool,
    ) -> Result<Id, Errno> {
        if nest_parent && !smmu.driver.features().nesting {
            return Err(Errno::EOPNOTSUPP);
        }
        let domain = Arc::new(Domain::new(cpu, &smmu.driver, DomainKind::Stage2).await?);
        let id = self.state().objects.reserve();
        let areas: Vec<(u64, Area)> =
            self.state().ioas(ioas)?.areas.iter().map(|(iova, area)| (*iova, area.clone())).collect();
        if let Err(errno) = populate(cpu, &domain, &areas).await {
            // A time-out here is in the journal; the table is not in use.
            let _ = domain.destroy(cpu).await;
            self.state().objects.abandon(id);
            return Err(errno);
        }
        let mut state = self.state();
        state.objects.publish(id, Kind::Paging(Paging { ioas, smmu, domain, nest_parent, automatic }));
        state.objects.hold(ioas);
        state.ioas_mut(ioas)?.hwpts.push(id);
        Ok(id)
    }

    pub(super) async fn paging_gone(&self, cpu: &Cpu, id: Id, paging: &Paging) {
        {
            let mut state = self.state();
            if let Ok(ioas) = state.ioas_mut(paging.ioas) {
                ioas.hwpts.retain(|hwpt| *hwpt != id);
            }
            state.objects.release(paging.ioas);
        }
        // A time-out is in the journal; its pages stay allocated then.
        let _ = paging.domain.destroy(cpu).await;
    }
}

enum Target {
    Ioas(Arc<HostSmmu>),
    Viommu,
}

/// HWPT_ALLOC directly on a page table: Arm has no such operation.
fn direct_nesting(cmd: &HwptAlloc, parent: &Paging) -> Errno {
    let beyond = cmd.flags & !(hwpt_flags::FAULT_ID_VALID | hwpt_flags::PASID) != 0;
    if beyond || cmd.data.is_empty() || (!parent.automatic && parent.nest_parent) {
        Errno::EOPNOTSUPP
    } else {
        Errno::EINVAL
    }
}

/// Checks a guest's STE in the order of the Arm driver.
fn validate_vste(cmd: &HwptAlloc) -> Result<Nested, Errno> {
    if cmd.flags & !(hwpt_flags::FAULT_ID_VALID | hwpt_flags::PASID) != 0 || cmd.data.is_empty() {
        return Err(Errno::EOPNOTSUPP);
    }
    if cmd.flags & hwpt_flags::PASID != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let bytes: &[u8; 16] = cmd.data.as_slice().try_into().map_err(|_| Errno::EINVAL)?;
    if cmd.data_type != hwpt_data::ARM_SMMUV3 {
        return Err(Errno::EINVAL);
    }
    let word = |i: usize| u64::from_le_bytes(bytes[8 * i..8 * i + 8].try_into().expect("eight bytes"));
    let mut ste = Ste([word(0), word(1), 0, 0, 0, 0, 0, 0]);
    let viommu = Id(cmd.pt);
    if !ste.v() {
        return Ok(Nested { viommu, vste: Ste::default(), guest_ats: false });
    }
    if word(0) & !VSTE_MASK[0] != 0 || word(1) & !VSTE_MASK[1] != 0 {
        return Err(Errno::EIO);
    }
    if !matches!(ste.config(), 0 | 4 | 5) || ste.eats() > 1 {
        return Err(Errno::EIO);
    }
    let guest_ats = ste.config() == 5 && ste.eats() == 1;
    ste = ste.with_eats(0);
    Ok(Nested { viommu, vste: ste, guest_ats })
}

impl State {
    /// The physical STE for a nested table. EATS is set where guest, host and device all agree on ATS.
    pub(super) fn nested_ste(&self, nested: &Nested, device_ats: bool) -> Result<Ste, Errno> {
        let parent = self.paging(self.viommu(nested.viommu)?.parent)?;
        let driver = &parent.smmu.driver;
        let host_ats = device_ats && driver.features().ats;
        Ok(match (nested.vste.v(), nested.vste.config()) {
            (true, config::BYPASS) => {
                let ste = Ste::default().with_v(true).with_config(config::S2).with_eats(u64::from(host_ats));
                driver.with_stage2(ste, &parent.domain, false)
            }
            (true, config::S1) => {
                let ste = nested.vste.with_config(config::NESTED).with_mev(true);
                let ste = ste.with_eats(u64::from(host_ats && nested.guest_ats));
                driver.with_stage2(ste, &parent.domain, false)
            }
            _ => Ste::default().with_v(true),
        })
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn vste(word0: u64, word1: u64) -> HwptAlloc {
        let data = [word0, word1].iter().flat_map(|w| w.to_le_bytes()).collect();
        HwptAlloc { data_type: hwpt_data::ARM_SMMUV3, data, pt: 1, ..HwptAlloc::default() }
    }

    #[test]
    fn a_guest_ste_is_checked_in_order() {
        let with = |flags, base: HwptAlloc| HwptAlloc { flags, ..base };
        let s1 = 0b1011;
        for (what, cmd, want) in [
            ("V=0, all else 1", vste(!1, !0), Ok(())),
            ("stage 1", vste(s1, 0), Ok(())),
            ("bypass", vste(0b1001, 0), Ok(())),
            ("abort", vste(0b0001, 0), Ok(())),
            ("bit 52 of word 0", vste(s1 | 1 << 52, 0), Err(Errno::EIO)),
            ("bit 8 of word 1", vste(s1, 1 << 8), Err(Errno::EIO)),
            ("Config 6", vste(0b1101, 0), Err(Errno::EIO)),
            ("Config 7", vste(0b1111, 0), Err(Errno::EIO)),
            ("Config 1", vste(0b0011, 0), Err(Errno::EIO)),
            ("EATS 1", vste(s1, 1 << 28), Ok(())),
            ("EATS 2", vste(s1, 2 << 28), Err(Errno::EIO)),
            ("EATS 3", vste(s1, 3 << 28), Err(Errno::EIO)),
            ("PASID", with(hwpt_flags::PASID, vste(s1, 0)), Err(Errno::EOPNOTSUPP)),
            ("NEST_PARENT", with(hwpt_flags::NEST_PARENT, vste(s1, 0)), Err(Errno::EOPNOTSUPP)),
            ("data type 1", HwptAlloc { data_type: 1, ..vste(s1, 0) }, Err(Errno::EINVAL)),
            ("eight bytes", HwptAlloc { data: vec![0; 8], ..vste(s1, 0) }, Err(Errno::EINVAL)),
            ("24 bytes", HwptAlloc { data: vec![0; 24], ..vste(s1, 0) }, Err(Errno::EINVAL)),
        ] {
            assert_eq!(validate_vste(&cmd).map(|_| ()), want, "{what}");
        }
    }
}
