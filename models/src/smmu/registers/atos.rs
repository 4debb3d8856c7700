//! The registers of address translation operations: what may be written when, and what an operation leaves (IHI 0070, 6.3.37 to
//! 6.3.40, 6.3.44 and 6.3.99 to 6.3.102).

use spec::smmu::atos::{VATOS_ADDR, VATOS_CTRL, VATOS_PAR, VATOS_SID};
use spec::smmu::page0::{CR0, CR0ACK, GATOS_ADDR, GATOS_CTRL, GATOS_PAR, GATOS_SID, VATOS_SEL};
use spec::smmu::{Page0, Vatos};

use super::{Change, Registers};
use crate::smmu::atos::{self, Group};
use crate::smmu::request::Request;

impl Registers {
    /// ATOS_CTRL.RUN.
    pub fn is_operating(&self, group: Group) -> bool {
        match group {
            Group::Global => self.page0.get::<GATOS_CTRL>().run(),
            Group::Virtual => self.vatos.get::<VATOS_CTRL>().run(),
        }
    }

    /// The operation that software has started.
    ///
    /// # Errors
    /// It is malformed; this is its PAR.
    pub fn operation(&self, group: Group) -> Result<Request, u64> {
        let features = &self.features;
        match group {
            Group::Global => atos::request(self.page0.get(), self.page0.get(), None, features),
            Group::Virtual => {
                let sid = GATOS_SID(self.vatos.get::<VATOS_SID>().0);
                let addr = GATOS_ADDR(self.vatos.get::<VATOS_ADDR>().0);
                let vmid = self.page0.get::<VATOS_SEL>().vmid() as u16;
                atos::request(sid, addr, Some(vmid), features)
            }
        }
    }

    /// An operation is over: PAR is valid, then RUN clears.
    pub fn finish_operation(&mut self, group: Group, par: u64) {
        match group {
            Group::Global => {
                self.page0.set(GATOS_PAR(par));
                self.page0.set(GATOS_CTRL(0));
            }
            Group::Virtual => {
                self.vatos.set(VATOS_PAR(par));
                self.vatos.set(VATOS_CTRL(0));
            }
        }
    }

    /// Starts an operation if it is permitted: SMMUEN set and not about to change, and none under way.
    fn start(&mut self, group: Group, run: bool) -> Change {
        let enabled = self.page0.get::<CR0>().smmuen() && self.page0.get::<CR0ACK>().smmuen();
        if !run || !enabled || self.is_operating(group) {
            return Change::None;
        }
        match group {
            Group::Global => self.page0.set(GATOS_CTRL(0).with_run(true)),
            Group::Virtual => self.vatos.set(VATOS_CTRL(0).with_run(true)),
        }
        Change::Operation(group)
    }

    /// Bits of ATOS_SID that exist.
    fn sid_mask(&self) -> u64 {
        let ones = |bits: u8| u64::MAX.checked_shr(64 - u32::from(bits)).unwrap_or(0);
        let ssid = GATOS_SID(0).with_substreamid(ones(self.features.ssidsize));
        ssid.with_streamid(ones(self.features.sidsize)).with_ssid_valid(self.features.ssidsize != 0).0
    }

    /// Software writes one of page 0's.
    pub(super) fn store_gatos(&mut self, reg: Page0, value: u64) -> Change {
        let [global, virt] = Group::ALL.map(|group| self.is_operating(group));
        match reg {
            Page0::GATOS_CTRL => return self.start(Group::Global, GATOS_CTRL(value).run()),
            Page0::GATOS_SID if !global => self.page0.write(reg, value & self.sid_mask()),
            Page0::VATOS_SEL if !virt => {
                let vmids = if self.features.vmid16 { 0xffff } else { 0xff };
                self.page0.write(reg, value & vmids)
            }
            Page0::GATOS_ADDR if !global => self.page0.write(reg, value),
            _ => 0,
        };
        Change::None
    }

    /// Software writes one of the VATOS page.
    pub(super) fn store_vatos(&mut self, reg: Vatos, value: u64) -> Change {
        match reg {
            Vatos::VATOS_CTRL => return self.start(Group::Virtual, VATOS_CTRL(value).run()),
            _ if self.is_operating(Group::Virtual) => 0,
            Vatos::VATOS_SID => self.vatos.write(reg, value & self.sid_mask()),
            Vatos::VATOS_ADDR | Vatos::VATOS_PAR => self.vatos.write(reg, value),
        };
        Change::None
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::smmu::features::{Features, IdrProfile};

    const SID: u64 = 0x1_0005_0000_0001;

    fn with(features: Features, cr0: u64, ack: u64) -> Registers {
        let mut r = Registers::new(features);
        r.write(0x20, 4, ack);
        r.complete_cr0(u64::MAX);
        r.write(0x20, 4, cr0);
        r
    }
    fn optional() -> Features {
        Features::new(IdrProfile::OPTIONAL).unwrap()
    }

    /// Offsets of CTRL, SID, ADDR, PAR by group.
    const GROUPS: [(Group, [u32; 4]); 2] = [
        (Group::Global, [0x100, 0x108, 0x110, 0x118]),
        (Group::Virtual, [0x2_0a00, 0x2_0a08, 0x2_0a10, 0x2_0a18]),
    ];

    #[test]
    fn an_operation_starts_only_while_smmuen_is_set_and_stays() {
        for (group, [ctrl, ..]) in GROUPS {
            for (cr0, ack, starts) in [(1, 1, true), (0, 0, false), (1, 0, false), (0, 1, false)] {
                let mut r = with(optional(), cr0, ack);
                r.write(ctrl, 4, 0);
                let [write, _] = r.write(ctrl, 4, 1);
                assert_eq!(write.unwrap().change == Change::Operation(group), starts);
                assert_eq!(r.is_operating(group), starts, "{group:?} SMMUEN={cr0} ack {ack}");
            }
        }
    }

    #[test]
    fn nothing_of_the_group_can_be_written_while_it_runs() {
        for (i, (group, [ctrl, sid, addr, par])) in GROUPS.into_iter().enumerate() {
            let (other, [_, other_sid, ..]) = GROUPS[1 - i];
            let mut r = with(optional(), 1, 1);
            r.write(sid, 8, SID);
            r.write(addr, 8, 0x1000 | 1 << 10);
            r.write(0x180, 4, 5);
            r.write(ctrl, 4, 1);
            for (offset, len) in [(ctrl, 4), (sid, 8), (addr, 8)] {
                let before = r.read(offset, len);
                r.write(offset, len, !before);
                assert_eq!(r.read(offset, len), before, "{group:?} {offset:#x}");
            }
            r.write(other_sid, 8, SID);
            assert_eq!(r.read(other_sid, 8), SID, "the other group is free");
            r.write(0x180, 4, 6);
            assert_eq!(r.read(0x180, 4), if group == Group::Virtual { 5 } else { 6 });
            assert!(!r.is_operating(other));
            r.finish_operation(group, 0x1234_5000);
            assert_eq!((r.read(par, 8), r.read(ctrl, 4)), (0x1234_5000, 0));
            r.write(par, 8, 0);
            assert_eq!(r.read(par, 8), 0x1234_5000, "PAR is read only");
        }
    }

    #[test]
    fn bits_that_do_not_exist() {
        let narrow = Features { sidsize: 8, ssidsize: 0, vmid16: false, ..optional() };
        for (features, sid, sel) in [(optional(), 0x1f_ffff_0000_ffff, 0xffff), (narrow, 0xff, 0xff)] {
            let mut r = Registers::new(features);
            for (_, [_, at, ..]) in GROUPS {
                r.write(at, 8, u64::MAX);
                assert_eq!(r.read(at, 8), sid);
            }
            r.write(0x180, 4, u64::MAX);
            assert_eq!(r.read(0x180, 4), sel);
        }
        let mut without = Registers::new(Features::new(IdrProfile::STANDARD).unwrap());
        for offset in [0x100, 0x108, 0x110, 0x118, 0x180, 0x2_0a08] {
            assert_eq!((without.write(offset, 4, 1), without.read(offset, 4)), ([None, None], 0));
        }
    }
}
