//! An address translation operation as software performs it.

use spec::smmu::EventNumber;
use spec::smmu::atos::{Failed, Found, code, kind};
use spec::smmu::page0::{GATOS_ADDR, GATOS_SID};

use crate::rig::{Rig, at, same};
use crate::suite::Check;

/// Offset of GATOS_CTRL; SID, ADDR and PAR follow.
pub(super) const GLOBAL: u64 = 0x100;
/// Offset of VATOS_CTRL, with IDR2.BA_VATOS at 0.
pub(super) const VIRTUAL: u64 = 0x2_0a00;
/// Offset of VATOS_SEL.
pub(super) const SEL: u64 = 0x180;

/// What is asked: by default with GATOS, about an unprivileged data read of stream 1 without SubstreamID.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) group: u64,
    sid: GATOS_SID,
    addr: GATOS_ADDR,
}

impl Ask {
    const fn new(kind: u64, addr: u64) -> Self {
        let addr = GATOS_ADDR(0).with_addr(addr).with_type_(kind).with_rnw(true);
        Self { group: GLOBAL, sid: GATOS_SID(0).with_streamid(1), addr }
    }
    /// A virtual address at stage 1.
    pub(super) const fn stage1(addr: u64) -> Self {
        Self::new(kind::STAGE1, addr)
    }
    /// An intermediate address at stage 2.
    pub(super) const fn stage2(addr: u64) -> Self {
        Self::new(kind::STAGE2, addr)
    }
    /// A virtual address at both stages.
    pub(super) const fn both(addr: u64) -> Self {
        Self::new(kind::BOTH, addr)
    }
    /// With this TYPE.
    pub(super) const fn of_type(self, kind: u64) -> Self {
        Self { addr: self.addr.with_type_(kind), ..self }
    }
    pub(super) const fn of(self, sid: u64) -> Self {
        Self { sid: self.sid.with_streamid(sid), ..self }
    }
    pub(super) const fn pasid(self, ssid: u64) -> Self {
        Self { sid: self.sid.with_substreamid(ssid).with_ssid_valid(true), ..self }
    }
    pub(super) const fn write(self) -> Self {
        Self { addr: self.addr.with_rnw(false), ..self }
    }
    pub(super) const fn privileged(self) -> Self {
        Self { addr: self.addr.with_pnu(true), ..self }
    }
    pub(super) const fn instruction(self) -> Self {
        Self { addr: self.addr.with_ind(true), ..self }
    }
    /// Without updates of descriptors.
    pub(super) const fn passive(self) -> Self {
        Self { addr: self.addr.with_httui(true), ..self }
    }
    /// With VATOS.
    pub(super) const fn virt(self) -> Self {
        Self { group: VIRTUAL, ..self }
    }

    /// Writes the registers and sets RUN.
    pub(super) fn start(self, r: &mut Rig) {
        r.write64(self.group + 8, self.sid.0);
        r.write64(self.group + 0x10, self.addr.0);
        r.write32(self.group, 1);
    }
    /// Whether RUN is set.
    pub(super) fn runs(self, r: &mut Rig) -> bool {
        r.read32(self.group) & 1 != 0
    }
    /// Waits until RUN is clear. Says what PAR holds.
    pub(super) fn result(self, r: &mut Rig) -> Result<u64, String> {
        r.until("RUN clears", |r| !self.runs(r))?;
        Ok(r.read64(self.group + 0x18))
    }
    /// Performs the operation, which must record nothing. Says what PAR holds.
    fn perform(self, r: &mut Rig) -> Result<u64, String> {
        self.start(r);
        let par = self.result(r)?;
        r.recorded(&[])?;
        Ok(par)
    }

    /// The operation must find this address, of a translation of 2^`size_log2` bytes.
    pub(super) fn finds(self, r: &mut Rig, addr: u64, size_log2: u8) -> Check {
        let par = Found([self.perform(r)?]);
        let seen = (par.fault(), par.size(), par.addr());
        let large = size_log2 > 12;
        let size = if large { 1 << (size_log2 - 1) } else { 0 };
        let base = addr >> size_log2 << size_log2;
        same(&format!("FAULT, Size and ADDR for {self:x?}"), seen, (false, large, base | size))
    }
    /// The same, of a page of 4KB.
    pub(super) fn finds_page(self, r: &mut Rig, addr: u64) -> Check {
        self.finds(r, addr, 12)
    }
    /// The operation must find this address and these attributes.
    pub(super) fn finds_attributes(self, r: &mut Rig, attr: u64, sh: u64) -> Check {
        let par = Found([self.perform(r)?]);
        same("FAULT, ATTR and SH", (par.fault(), par.attr(), par.sh()), (false, attr, sh))
    }
    fn fails_with(self, r: &mut Rig, faultcode: u64, reason: u64, faddr: u64) -> Check {
        let par = Failed([self.perform(r)?]);
        let seen = (par.fault(), par.faultcode(), par.reason(), par.faddr());
        same(
            &format!("FAULT, FAULTCODE, REASON and FADDR for {self:x?}"),
            seen,
            (true, faultcode, reason, faddr),
        )
    }
    /// The operation must fail like this.
    pub(super) fn fails(self, r: &mut Rig, number: EventNumber, reason: u64, faddr: u64) -> Check {
        self.fails_with(r, number.0.into(), reason, faddr)
    }
    /// The operation must count as malformed.
    pub(super) fn is_malformed(self, r: &mut Rig) -> Check {
        self.fails_with(r, code::INV_REQ, 0, 0)
    }
    /// The operation must be about stages that the stream does not have.
    pub(super) fn lacks_stage(self, r: &mut Rig) -> Check {
        self.fails_with(r, code::INV_STAGE, 0, 0)
    }
}

/// Lets RECINVSID be as given from the start.
pub(super) fn with_recinvsid(r: &mut Rig, recinvsid: bool) -> Check {
    r.setup.cr2 = if recinvsid { 2 } else { 0 };
    r.boot()?;
    same("CR2", r.read32(at::CR2), r.setup.cr2)
}
