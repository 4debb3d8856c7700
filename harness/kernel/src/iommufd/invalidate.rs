//! HWPT_INVALIDATE on a viommu: a guest's commands, checked, rewritten and issued on the pSMMU's main queue.

use std::sync::Arc;

use models::cpu::Cpu;
use spec::smmu::{Command, Opcode};

use super::context::{Context, State};
use super::kinds::Kind;
use super::object::Id;
use crate::errno::Errno;
use crate::smmu::Features;

/// invalidate data_type: SMMUv3 commands on a viommu.
const INVALIDATE_ARM_SMMUV3: u32 = 1;
/// Commands before each CMD_SYNC.
const GROUP: usize = 63;
/// The most entries that one call takes.
const MAX_ENTRIES: usize = 1 << 19;

/// Arguments of HWPT_INVALIDATE.
#[derive(Clone, Debug)]
pub struct Invalidate {
    /// The viommu (or a page table, which Arm refuses).
    pub hwpt: Id,
    /// 1: SMMUv3 commands.
    pub data_type: u32,
    /// Bytes per entry; 16 for plain commands. Shorter entries are zero-extended, longer ones need a zero tail.
    pub entry_len: u32,
    /// The commands.
    pub commands: Vec<Command>,
}

impl Invalidate {
    /// Plain commands for a viommu.
    pub fn new(viommu: Id, commands: Vec<Command>) -> Self {
        Self { hwpt: viommu, data_type: INVALIDATE_ARM_SMMUV3, entry_len: 16, commands }
    }
}

/// What HWPT_INVALIDATE reports: the count is written back on success and on error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalidated {
    /// `entry_num` on return. Not "executed": on an invalid entry i it is i, while whole groups before it ran.
    pub entries: u32,
    /// Success or errno.
    pub result: Result<(), Errno>,
}

impl Context {
    /// IOMMU_HWPT_INVALIDATE.
    ///
    /// Errors, in `result`: EINVAL: wrong type, no entry, or bad length. ENOENT: no such object. EOPNOTSUPP: a nested
    /// page table. EIO: a command that a guest may not issue, or an unknown virtual StreamID. ETIMEDOUT: the queue did
    /// not complete.
    pub async fn hwpt_invalidate(&self, cpu: &Cpu, cmd: &Invalidate) -> Invalidated {
        self.enter(cpu).await;
        let (entries, result) = match self.invalidate(cpu, cmd).await {
            Ok(()) => (cmd.commands.len(), Ok(())),
            Err((entries, errno)) => (entries, Err(errno)),
        };
        let shown = format!("object {} {} commands", cmd.hwpt, cmd.commands.len());
        let result = self.leave(cpu, "HWPT_INVALIDATE", &shown, result);
        Invalidated { entries: entries as u32, result }
    }

    async fn invalidate(&self, cpu: &Cpu, cmd: &Invalidate) -> Result<(), (usize, Errno)> {
        let length = u64::from(cmd.entry_len);
        if !cmd.commands.is_empty()
            && (length == 0 || length > self.page_size || cmd.commands.len() > MAX_ENTRIES)
        {
            return Err((0, Errno::EINVAL));
        }
        let smmu = {
            let mut state = self.state();
            let smmu = match state.objects.get(cmd.hwpt).map(|o| &o.kind) {
                Some(Kind::Viommu(viommu)) => Arc::clone(&viommu.smmu),
                Some(Kind::Nested(_)) => return Err((0, Errno::EOPNOTSUPP)),
                Some(_) => return Err((0, Errno::EINVAL)),
                None => return Err((0, Errno::ENOENT)),
            };
            if cmd.data_type != INVALIDATE_ARM_SMMUV3 || cmd.commands.is_empty() {
                return Err((0, Errno::EINVAL));
            }
            // An ioctl in flight is a reference.
            state.objects.hold(cmd.hwpt);
            smmu
        };
        let result = self.issue_groups(cpu, cmd, &smmu).await;
        self.state().objects.release(cmd.hwpt);
        result
    }

    async fn issue_groups(
        &self,
        cpu: &Cpu,
        cmd: &Invalidate,
        smmu: &super::host::HostSmmu,
    ) -> Result<(), (usize, Errno)> {
        let mut group = Vec::with_capacity(GROUP);
        for (i, command) in cmd.commands.iter().enumerate() {
            let converted =
                self.state().convert(cmd.hwpt, truncated(*command, cmd.entry_len), smmu.driver.features());
            group.push(converted.map_err(|errno| (i, errno))?);
            let last = i + 1 == cmd.commands.len();
            if group.len() == GROUP || last {
                smmu.driver.issue_main(cpu, &group).await.map_err(|errno| (i, errno))?;
                group.clear();
            }
        }
        Ok(())
    }
}

/// What is left of a command in an entry shorter than sixteen bytes.
fn truncated(command: Command, entry_len: u32) -> Command {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&command.0[0].to_le_bytes());
    bytes[8..].copy_from_slice(&command.0[1].to_le_bytes());
    bytes[(entry_len as usize).min(16)..].fill(0);
    let word = |i: usize| u64::from_le_bytes(bytes[8 * i..8 * i + 8].try_into().expect("eight bytes"));
    Command([word(0), word(1)])
}

impl State {
    /// Checks one command and makes it safe for the physical queue; EIO for everything a guest may not do.
    fn convert(&self, viommu: Id, command: Command, features: &Features) -> Result<Command, Errno> {
        let viommu = self.viommu(viommu)?;
        let vmid = self.paging(viommu.parent)?.domain.tag();
        let [word0, word1] = command.0;
        let refuse = |why: String| self.refusal.because(Errno::EIO, why);
        let allowed = allowed_bits(command.op(), features)
            .ok_or_else(|| refuse(format!("a guest may not issue {}", command.op())))?;
        if word0 & !(allowed[0] | 0xff) != 0 || word1 & !allowed[1] != 0 {
            return Err(refuse(format!("{command} has bits that a guest may not set")));
        }
        match command.op() {
            Opcode::TLBI_NSNH_ALL => Ok(Command::tlbi_nh_all(vmid)),
            Opcode::TLBI_NH_ALL | Opcode::TLBI_NH_ASID | Opcode::TLBI_NH_VA | Opcode::TLBI_NH_VAA => {
                check_range(command, features)?;
                if command.asid() >> features.asid_bits != 0 {
                    return Err(Errno::EIO);
                }
                Ok(command.with_vmid(vmid.into()))
            }
            Opcode::ATC_INV if word1 & 0x3f > 52 => Err(Errno::EIO),
            _ => {
                let virt = command.sid();
                let vdevice = viommu.vdevices.get(&virt).ok_or_else(|| {
                    refuse(format!(
                        "virtual StreamID {virt:#x} has no virtual device on this viommu, of {}",
                        viommu.smmu.name
                    ))
                })?;
                let Some(Kind::Vdevice(vdevice)) = self.objects.get(*vdevice).map(|o| &o.kind) else {
                    return Err(Errno::EIO);
                };
                let psid = self.device(vdevice.device)?.device.sids[0];
                Ok(command.with_sid(psid.into()))
            }
        }
    }
}

/// Bits beside the opcode that a guest may set, per word; `None` for an opcode it may not issue.
fn allowed_bits(opcode: Opcode, features: &Features) -> Option<[u64; 2]> {
    const VMID: u64 = 0xffff << 32;
    const ASID: u64 = 0xffff << 48;
    const SID: u64 = 0xffff_ffff << 32;
    const ADDRESS: u64 = !0xfff;
    const LEAF: u64 = 1;
    let range = if features.ril { [0x1f << 12 | 0x1f << 20, 0xf << 8] } else { [0, 0] };
    let ssid = if features.ssid_bits > 0 { 0xf_ffff << 12 } else { 0 };
    let atc = if features.ssid_bits > 0 { ssid | 1 << 11 | 1 << 9 } else { 0 };
    Some(match opcode {
        Opcode::TLBI_NSNH_ALL => [0, 0],
        Opcode::TLBI_NH_ALL => [VMID, 0],
        Opcode::TLBI_NH_ASID => [VMID | ASID, 0],
        Opcode::TLBI_NH_VA => [VMID | ASID | range[0], LEAF | ADDRESS | range[1]],
        Opcode::TLBI_NH_VAA => [VMID | range[0], LEAF | ADDRESS | range[1]],
        Opcode::ATC_INV if features.ats => [SID | atc, ADDRESS | 0x3f],
        Opcode::CFGI_CD => [SID | ssid, LEAF],
        Opcode::CFGI_CD_ALL => [SID, 0],
        _ => return None,
    })
}

/// The rules of range invalidation (IHI 0070, 4.4.1).
fn check_range(command: Command, features: &Features) -> Result<(), Errno> {
    if !features.ril || !matches!(command.op(), Opcode::TLBI_NH_VA | Opcode::TLBI_NH_VAA) {
        return Ok(());
    }
    let (tg, num, scale, ttl) = (command.tg(), command.num(), command.scale(), command.ttl());
    let none = num == 0 && scale == 0 && ttl == 0;
    let bad = match tg {
        0 => !none,
        2 if ttl == 1 => true,
        _ => none,
    };
    if bad { Err(Errno::EIO) } else { Ok(()) }
}
