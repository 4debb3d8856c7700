//! One Virtual Interface: its context, its StreamID slots, the LVCMDQs mapped into it; and the handshake between CONFIG
//! and STATUS that it shares with the block as a whole.

use super::Ticket;

/// CONFIG.EN, STATUS.ENABLED and the way from one to the other.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Switch {
    /// CONFIG.
    pub(super) enable: bool,
    /// STATUS.
    pub(super) status: bool,
    /// The handshake under way.
    pub(super) ticket: Option<Ticket>,
    /// The handshake is done; what is left is to become quiet.
    pub(super) acknowledged: bool,
}

impl Switch {
    /// A switch at rest.
    pub(super) fn at(on: bool) -> Self {
        Self { enable: on, status: on, ..Self::default() }
    }
    /// Whether queues below may run.
    pub(super) fn on(&self) -> bool {
        self.enable && self.status
    }
    /// Whether a handshake must be started.
    pub(super) fn needs_handshake(&self) -> bool {
        self.enable != self.status && self.ticket.is_none() && !self.acknowledged
    }
    /// Sets STATUS if it is time to; `quiet` says that nothing below is at work. Returns whether STATUS changed.
    pub(super) fn settle(&mut self, quiet: bool) -> bool {
        if self.enable == self.status {
            self.acknowledged = false;
        }
        let change = self.acknowledged && (self.enable || quiet);
        if change {
            self.status = self.enable;
            self.acknowledged = false;
        }
        change
    }
}

/// A StreamID slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SidSlot {
    /// SID_MATCH.ENABLE.
    pub(super) enable: bool,
    /// SID_MATCH.VIRT_SID.
    pub(super) virt: u32,
    /// SID_REPLACE.PHYS_SID.
    pub(super) phys: u32,
    /// An injected defect: SID_MATCH reads as zero, and yet the slot matches.
    pub(super) hidden: bool,
}

impl SidSlot {
    /// Software writes SID_MATCH. With `sticks`, clearing it does not stop the slot from matching.
    pub(super) fn set_match(&mut self, enable: bool, virt: u32, sticks: bool) {
        self.hidden = sticks && self.enable && !enable;
        if !self.hidden {
            (self.enable, self.virt) = (enable, virt);
        }
    }
    /// SID_MATCH.ENABLE as it reads.
    pub(super) fn shown_enable(&self) -> bool {
        self.enable && !self.hidden
    }
    /// SID_MATCH.VIRT_SID as it reads.
    pub(super) fn shown_virt(&self) -> u32 {
        if self.hidden { 0 } else { self.virt }
    }
}

/// A VINTF.
#[derive(Clone, Debug)]
pub(super) struct Vintf {
    pub(super) switch: Switch,
    /// CONFIG.VMID as stored.
    pub(super) vmid: u16,
    /// CONFIG.HYP_OWN as stored.
    pub(super) hyp_own: bool,
    /// VMID and HYP_OWN in force since CONFIG.EN was set.
    pub(super) context: Context,
    pub(super) sids: Box<[SidSlot]>,
    /// VCMDQ at each logical index.
    pub(super) slots: Box<[Option<u16>]>,
    /// K5 Hang: its queues are stuck.
    pub(super) hung: bool,
}

/// Whom a VINTF belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) vmid: u16,
    pub(super) hyp_own: bool,
}

impl Vintf {
    /// After reset.
    pub(super) fn new(sids: usize, vcmdqs: usize) -> Self {
        Self {
            switch: Switch::default(),
            vmid: 0,
            hyp_own: false,
            context: Context::default(),
            sids: vec![SidSlot::default(); sids].into(),
            slots: vec![None; vcmdqs].into(),
            hung: false,
        }
    }
    /// Number of LVCMDQs allocated.
    pub(super) fn allocated(&self) -> usize {
        self.slots.iter().flatten().count()
    }
}
