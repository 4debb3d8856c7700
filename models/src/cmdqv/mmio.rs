//! Registers: an offset becomes a place, a place is read or written. Both apertures reach the same queue.

use spec::cmdqv::config::{CMDQ_ALLOC, CONFIG, STATUS};
use spec::cmdqv::queue::{CONFIG as QCONFIG, CONS, GERRORN, PROD, STATUS as QSTATUS};
use spec::cmdqv::vintf::{CONFIG as VCONFIG, SID_MATCH, SID_REPLACE, STATUS as VSTATUS};
use spec::cmdqv::{Config, Place, QueuePage0, QueuePage1, QueueReg, Vintf as VintfReg};
use spec::regs::Block;

use super::Cmdqv;
use super::alloc::Allocation;
use super::knobs::{BaseWrite, LvcmdqCount, UnallocatedStatus};
use super::queue::{Phase, Queue};
use super::vintf::Context;

/// VINTF STATUS.STATUS: a queue has an error.
const VCMDQ_ERROR: u64 = 1;

impl Cmdqv {
    /// Software reads `len` bytes. 32-bit reads work everywhere; a 64-bit read gives both halves where the register has
    /// them and the 32-bit register otherwise. Everything else, and every hole, reads as zero. No register changes.
    pub fn read(&mut self, offset: u64, len: u8) -> u64 {
        match len {
            4 if offset.is_multiple_of(4) => self.read_word(Place::decode(offset, self.param)).into(),
            8 if offset.is_multiple_of(8) => self.read_double(offset),
            _ => {
                self.lint(format!("{len}-byte read at {offset:#x} of the CMDQV; reads as zero"));
                0
            }
        }
    }

    /// Software writes `len` bytes. 32-bit writes work everywhere, 64-bit writes only at the ring base registers.
    pub fn write(&mut self, offset: u64, len: u8, value: u64) {
        match len {
            4 if offset.is_multiple_of(4) => self.write_word(Place::decode(offset, self.param), value as u32),
            8 if offset.is_multiple_of(8) => self.write_double(offset, value),
            _ => self.lint(format!("{len}-byte write at {offset:#x} of the CMDQV; ignored")),
        }
    }

    fn read_double(&mut self, offset: u64) -> u64 {
        let place = Place::decode(offset, self.param);
        let low = u64::from(self.read_word(place));
        let wide = match place {
            Place::LvcmdqErrMap { .. } => true,
            Place::Direct { reg, .. } | Place::Logical { reg, .. } => matches!(reg, QueueReg::Page1 { .. }),
            _ => false,
        };
        if !wide {
            return low;
        }
        low | u64::from(self.read_word(Place::decode(offset + 4, self.param))) << 32
    }

    fn write_double(&mut self, offset: u64, value: u64) {
        let (q, reg) = match Place::decode(offset, self.param) {
            Place::Direct { q, reg: QueueReg::Page1 { reg, .. } } => (Some(q.into()), reg),
            Place::Logical { v, l, reg: QueueReg::Page1 { reg, .. } } => (self.resolve(v, l), reg),
            _ => return self.lint(format!("64-bit write at {offset:#x} of the CMDQV; ignored")),
        };
        if let Some(q) = q {
            self.write_base(q, reg, u64::MAX, value);
        }
    }

    fn read_word(&self, place: Place) -> u32 {
        let bits = match place {
            Place::Config(reg) => self.read_config(reg),
            Place::CmdqAlloc { q } => {
                let Allocation { allocated, vintf, logical } = self.allocations[usize::from(q)];
                let entry = CMDQ_ALLOC(0).with_allocated(allocated).with_vintf(vintf.into());
                entry.with_lvcmdq(logical.into()).0
            }
            Place::Vintf { v, reg } => self.read_vintf(v, reg),
            Place::SidMatch { v, s } => {
                let slot = self.vintfs[usize::from(v)].sids[usize::from(s)];
                SID_MATCH(0).with_enable(slot.shown_enable()).with_virt_sid(slot.shown_virt().into()).0
            }
            Place::SidReplace { v, s } => {
                SID_REPLACE(0).with_phys_sid(self.vintfs[usize::from(v)].sids[usize::from(s)].phys.into()).0
            }
            Place::LvcmdqErrMap { v, word } => {
                (self.lvcmdq_map(v) >> (32 * u32::from(word))) as u64 & 0xffff_ffff
            }
            Place::Direct { q, reg } => self.read_queue(q.into(), reg),
            Place::Logical { v, l, reg } => self.resolve(v, l).map_or(0, |q| self.read_queue(q, reg)),
            Place::Hole => 0,
        };
        bits as u32
    }

    fn read_config(&self, reg: Config) -> u64 {
        let word = |map: u128, i: u32| (map >> (32 * i)) as u64 & 0xffff_ffff;
        match reg {
            Config::CONFIG => self.fields.with_cmdqv_en(self.switch.enable).0,
            Config::PARAM => self.param.0,
            Config::STATUS => STATUS(0).with_cmdqv_enabled(self.switch.status).0,
            Config::GLB_FILT_CFG_0 => self.filter[0].into(),
            Config::GLB_FILT_DATA_0 => self.filter[1].into(),
            Config::VINTF_ERR_MAP_0 => word(self.vintf_map().into(), 0),
            Config::VINTF_ERR_MAP_1 => word(self.vintf_map().into(), 1),
            Config::VINTF_INT_MASK_0 => word(self.int_mask.into(), 0),
            Config::VINTF_INT_MASK_1 => word(self.int_mask.into(), 1),
            Config::CMDQ_ERR_MAP_0 => word(self.cmdq_map(), 0),
            Config::CMDQ_ERR_MAP_1 => word(self.cmdq_map(), 1),
            Config::CMDQ_ERR_MAP_2 => word(self.cmdq_map(), 2),
            Config::CMDQ_ERR_MAP_3 => word(self.cmdq_map(), 3),
        }
    }

    fn read_vintf(&self, v: u8, reg: VintfReg) -> u64 {
        let vintf = &self.vintfs[usize::from(v)];
        match reg {
            VintfReg::CONFIG => {
                let config = VCONFIG(0).with_en(vintf.switch.enable).with_vmid(vintf.vmid.into());
                config.with_hyp_own(vintf.hyp_own).0
            }
            VintfReg::STATUS => {
                let count = match self.config.knobs.lvcmdq_count {
                    LvcmdqCount::Allocated => vintf.allocated() as u64,
                    LvcmdqCount::Zero => 0,
                };
                let error = if self.lvcmdq_map(v) == 0 { 0 } else { VCMDQ_ERROR };
                VSTATUS(0).with_enabled(vintf.switch.status).with_status(error).with_vi_num_lvcmdq(count).0
            }
        }
    }

    fn read_queue(&self, q: u16, reg: QueueReg) -> u64 {
        let queue = self.queue(q);
        match reg {
            QueueReg::Page0(QueuePage0::CONS) => queue.cons_register().0,
            QueueReg::Page0(QueuePage0::PROD) => queue.prod.into(),
            QueueReg::Page0(QueuePage0::CONFIG) => QCONFIG(0).with_cmdq_en(queue.enable).0,
            QueueReg::Page0(QueuePage0::STATUS) => {
                let follows = self.config.knobs.unallocated_status == UnallocatedStatus::FollowsConfig;
                let on = queue.status() || (follows && queue.slot.is_none() && queue.enable);
                QSTATUS(0).with_cmdq_enabled(on).0
            }
            QueueReg::Page0(QueuePage0::GERROR) => queue.gerror.into(),
            QueueReg::Page0(QueuePage0::GERRORN) => queue.gerrorn.into(),
            QueueReg::Page1 { reg, upper } => {
                let value = if reg == QueuePage1::BASE { queue.base } else { queue.cons_base };
                (value >> if upper { 32 } else { 0 }) & 0xffff_ffff
            }
        }
    }

    fn write_word(&mut self, place: Place, value: u32) {
        match place {
            Place::Config(reg) => self.write_config(reg, value),
            Place::CmdqAlloc { q } => {
                let entry = CMDQ_ALLOC(value.into());
                let (vintf, logical) = (entry.vintf() as u8, entry.lvcmdq() as u8);
                self.write_allocation(q.into(), Allocation { allocated: entry.allocated(), vintf, logical });
            }
            Place::Vintf { v, reg: VintfReg::CONFIG } => self.write_vintf(v, VCONFIG(value.into())),
            Place::SidMatch { v, s } => {
                let new = SID_MATCH(value.into());
                let sticks = self.config.faults.sid_match_sticks;
                self.vintfs[usize::from(v)].sids[usize::from(s)].set_match(
                    new.enable(),
                    new.virt_sid() as u32,
                    sticks,
                );
            }
            Place::SidReplace { v, s } => {
                let phys = SID_REPLACE(value.into()).phys_sid() as u32;
                self.vintfs[usize::from(v)].sids[usize::from(s)].phys = phys;
            }
            Place::Direct { q, reg } => self.write_queue(q.into(), reg, value),
            Place::Logical { v, l, reg } => {
                if let Some(q) = self.resolve(v, l) {
                    self.write_queue(q, reg, value);
                }
            }
            Place::Vintf { .. } | Place::LvcmdqErrMap { .. } | Place::Hole => {}
        }
    }

    fn write_config(&mut self, reg: Config, value: u32) {
        match reg {
            Config::CONFIG => {
                let new = CONFIG(u64::from(value) & Config::CONFIG.desc().mask());
                self.fields = new.with_cmdqv_en(false);
                self.write_block_enable(new.cmdqv_en());
            }
            Config::GLB_FILT_CFG_0 => self.filter[0] = value,
            Config::GLB_FILT_DATA_0 => self.filter[1] = value,
            Config::VINTF_INT_MASK_0 => self.write_int_mask(false, value),
            Config::VINTF_INT_MASK_1 => self.write_int_mask(true, value),
            Config::PARAM
            | Config::STATUS
            | Config::VINTF_ERR_MAP_0
            | Config::VINTF_ERR_MAP_1
            | Config::CMDQ_ERR_MAP_0
            | Config::CMDQ_ERR_MAP_1
            | Config::CMDQ_ERR_MAP_2
            | Config::CMDQ_ERR_MAP_3 => {}
        }
    }

    fn write_vintf(&mut self, v: u8, new: VCONFIG) {
        let writable = self.config.hyp_own_writable;
        let vintf = &mut self.vintfs[usize::from(v)];
        let context = Context { vmid: new.vmid() as u16, hyp_own: new.hyp_own() && writable };
        let was = vintf.switch.enable;
        vintf.switch.enable = new.en();
        if was && new.en() {
            if context != vintf.context {
                self.lint(format!("VINTF {v}: VMID or HYP_OWN written while enabled; ignored"));
            }
            return;
        }
        (vintf.vmid, vintf.hyp_own) = (context.vmid, context.hyp_own);
        if new.en() {
            vintf.context = context;
        }
        self.refresh_vintf(v);
        self.settle_vintf(v);
    }

    fn write_queue(&mut self, q: u16, reg: QueueReg, value: u32) {
        match reg {
            QueueReg::Page0(QueuePage0::CONS) => self.write_cons(q, CONS(value.into())),
            QueueReg::Page0(QueuePage0::PROD) => self.write_prod(q, PROD(value.into()).wr() as u32),
            QueueReg::Page0(QueuePage0::CONFIG) => {
                let queue = self.queue_mut(q);
                queue.enable = QCONFIG(value.into()).cmdq_en();
                queue.stale &= !queue.enable;
                queue.dormant &= !queue.enable;
                self.refresh(q);
            }
            QueueReg::Page0(QueuePage0::GERRORN) => {
                let mask = QueuePage0::GERRORN.desc().mask();
                self.write_gerrorn(q, (GERRORN(value.into()).0 & mask) as u8);
            }
            QueueReg::Page0(QueuePage0::STATUS | QueuePage0::GERROR) => {}
            QueueReg::Page1 { reg, upper } => {
                let shift = if upper { 32 } else { 0 };
                self.write_base(q, reg, u64::from(u32::MAX) << shift, u64::from(value) << shift);
            }
        }
    }

    fn write_cons(&mut self, q: u16, value: CONS) {
        let queue = self.queue_mut(q);
        if queue.phase != Phase::Off {
            return self.lint(format!("VCMDQ {q}: CONS written while enabled; ignored"));
        }
        queue.cons = value.rd() as u32;
        queue.cons_error = value.err() as u8;
    }

    /// The doorbell.
    fn write_prod(&mut self, q: u16, value: u32) {
        let queue = &mut self.queues[usize::from(q)];
        queue.prod = value;
        let metrics = &mut self.metrics.queues[usize::from(q)];
        metrics.doorbells += 1;
        if queue.phase == Phase::Running {
            metrics.occupancy_max = metrics.occupancy_max.max(queue.occupancy().into());
            if queue.prefetched_too_far() {
                queue.drop_prefetched();
            }
            if queue.overfull() {
                self.lint(format!("VCMDQ {q}: PROD is further ahead than the ring is long; taken as full"));
            }
        }
        self.refresh(q);
    }

    /// Writes the bits in `mask` of BASE or CONS_INDX_BASE.
    fn write_base(&mut self, q: u16, reg: QueuePage1, mask: u64, value: u64) {
        if self.queue(q).phase != Phase::Off && self.config.knobs.base_write_enabled == BaseWrite::Ignore {
            return self.lint(format!("VCMDQ {q}: {reg} written while enabled; ignored"));
        }
        let queue = self.queue_mut(q);
        let stored = if reg == QueuePage1::BASE { &mut queue.base } else { &mut queue.cons_base };
        *stored = ((*stored & !mask) | (value & mask)) & reg.desc().mask();
    }
}

impl Queue {
    /// CONS as it reads.
    pub(super) fn cons_register(&self) -> CONS {
        CONS(0).with_rd(self.cons.into()).with_err(self.cons_error.into())
    }
}
