//! Which occurrences of something go wrong.

use spec::smmu::Opcode;

use crate::record::CommandQueue;

/// Which occurrences of something go wrong. Occurrences are counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// None.
    #[default]
    Never,
    /// One.
    Nth(u64),
    /// This one and all later ones.
    From(u64),
    /// Beginning with this one, so many in a row.
    Range(u64, u64),
}

/// Which commands go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WhichCommands {
    /// Which of those that count.
    pub which: Which,
    /// Only those from queues of this VINTF count; without it, those of all queues.
    pub vintf: Option<u8>,
    /// Only those with this opcode count; without it, all of their kind.
    pub opcode: Option<Opcode>,
}

impl From<Which> for WhichCommands {
    fn from(which: Which) -> Self {
        Self { which, ..Self::default() }
    }
}

/// Counts the occurrences of one thing and says which go wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trigger {
    which: Which,
    seen: u64,
}

impl Trigger {
    /// Nothing has occurred yet.
    pub fn new(which: Which) -> Self {
        Self { which, seen: 0 }
    }
    /// One more occurrence. Does it go wrong?
    #[inline]
    pub fn strikes(&mut self) -> bool {
        self.seen += 1;
        match self.which {
            Which::Never => false,
            Which::Nth(n) => self.seen == n,
            Which::From(n) => self.seen >= n,
            Which::Range(n, times) => (n..n.saturating_add(times)).contains(&self.seen),
        }
    }
    /// Others from now on. If they are others, occurrences are counted anew.
    pub fn change(&mut self, which: Which) {
        if self.which != which {
            *self = Self::new(which);
        }
    }
}

/// Counts commands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CommandTrigger {
    trigger: Trigger,
    vintf: Option<u8>,
    opcode: Option<Opcode>,
}

impl CommandTrigger {
    pub(crate) fn new(of: WhichCommands) -> Self {
        Self { trigger: Trigger::new(of.which), vintf: of.vintf, opcode: of.opcode }
    }
    /// One more command, from this queue. Does it go wrong?
    #[inline]
    pub(crate) fn strikes(&mut self, queue: CommandQueue, opcode: Opcode) -> bool {
        let from = match (self.vintf, queue) {
            (None, _) => true,
            (Some(wanted), CommandQueue::Vcmdq { vintf, .. }) => vintf == wanted,
            (Some(_), CommandQueue::Main | CommandQueue::Ecmdq(_)) => false,
        };
        let counts = from && self.opcode.is_none_or(|wanted| wanted == opcode);
        counts && self.trigger.strikes()
    }
    pub(crate) fn change(&mut self, of: WhichCommands) {
        if (self.vintf, self.opcode) != (of.vintf, of.opcode) {
            *self = Self::new(of);
        }
        self.trigger.change(of.which);
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn counts_from_one() {
        for (which, want) in [
            (Which::Never, [false; 4]),
            (Which::Nth(1), [true, false, false, false]),
            (Which::Nth(3), [false, false, true, false]),
            (Which::From(2), [false, true, true, true]),
            (Which::Range(2, 2), [false, true, true, false]),
        ] {
            let mut trigger = Trigger::new(which);
            assert_eq!([(); 4].map(|()| trigger.strikes()), want, "{which:?}");
        }
    }

    #[test]
    fn only_some_queues_count() {
        let vcmdq = |vintf| CommandQueue::Vcmdq { queue: 3, vintf, logical: 0 };
        let queues = [CommandQueue::Main, vcmdq(1), vcmdq(2), vcmdq(1)];
        for (vintf, nth, want) in [
            (None, 1, [true, false, false, false]),
            (None, 3, [false, false, true, false]),
            (Some(1), 1, [false, true, false, false]),
            (Some(1), 2, [false, false, false, true]),
            (Some(2), 1, [false, false, true, false]),
            (Some(3), 1, [false; 4]),
        ] {
            let of = WhichCommands { which: Which::Nth(nth), vintf, opcode: None };
            let mut trigger = CommandTrigger::new(of);
            let strikes = queues.map(|queue| trigger.strikes(queue, Opcode::CFGI_CD));
            assert_eq!(strikes, want, "{vintf:?} {nth}");
        }
    }

    #[test]
    fn only_some_opcodes_count() {
        let opcodes = [Opcode::CFGI_STE, Opcode::CFGI_CD, Opcode::CFGI_STE, Opcode::CFGI_CD];
        for (opcode, nth, want) in [
            (None, 2, [false, true, false, false]),
            (Some(Opcode::CFGI_CD), 1, [false, true, false, false]),
            (Some(Opcode::CFGI_CD), 2, [false, false, false, true]),
            (Some(Opcode::CFGI_CD_ALL), 1, [false; 4]),
        ] {
            let of = WhichCommands { which: Which::Nth(nth), vintf: None, opcode };
            let mut trigger = CommandTrigger::new(of);
            let strikes = opcodes.map(|op| trigger.strikes(CommandQueue::Main, op));
            assert_eq!(strikes, want, "{opcode:?} {nth}");
        }
    }

    #[test]
    fn a_change_counts_anew() {
        let nth = |vintf| WhichCommands { which: Which::Nth(2), vintf, opcode: None };
        let other = WhichCommands { opcode: Some(Opcode::SYNC), ..nth(None) };
        for (to, want) in
            [(nth(None), true), (nth(Some(0)), false), (Which::Nth(1).into(), true), (other, false)]
        {
            let mut trigger = CommandTrigger::new(nth(None));
            trigger.strikes(CommandQueue::Main, Opcode::SYNC);
            trigger.change(to);
            assert_eq!(trigger.strikes(CommandQueue::Main, Opcode::SYNC), want, "{to:?}");
        }
    }
}
