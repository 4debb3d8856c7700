//! The Command queue and the Event queue, as software uses them.

use spec::smmu::{Command, EventRecord};

use super::{Rig, at, same};
use crate::suite::Check;

impl Rig {
    /// Address of the slot that the next command will take.
    pub(crate) fn slot(&self) -> u64 {
        let index = self.prod & ((1 << self.setup.commands_log2) - 1);
        self.commands + 16 * u64::from(index)
    }
    /// The pointer behind `n` more commands.
    pub(crate) fn prod_after(&self, n: u32) -> u32 {
        (self.prod + n) & ((2 << self.setup.commands_log2) - 1)
    }
    /// Writes commands into the queue, without telling the SMMU.
    pub(crate) fn push(&mut self, commands: &[Command]) {
        for command in commands {
            let slot = self.slot();
            self.world.memory.write(slot, &command.to_bytes());
            self.prod = self.prod_after(1);
        }
    }
    /// Tells the SMMU of the commands so far.
    pub(crate) fn ring(&mut self) {
        self.write32(at::CMDQ_PROD, self.prod);
    }
    /// Writes commands into the queue and tells the SMMU.
    pub(crate) fn submit(&mut self, commands: &[Command]) {
        self.push(commands);
        self.ring();
    }
    /// CMDQ_CONS: RD with its wrap bit, and ERR while CMDQ_ERR is active.
    pub(crate) fn cons(&mut self) -> (u32, u32) {
        let active = (self.read32(at::GERROR) ^ self.read32(at::GERRORN)) & 1;
        let cons = self.read32(at::CMDQ_CONS);
        (cons & 0xf_ffff, if active == 0 { 0 } else { cons >> 24 })
    }
    /// Waits until all commands are consumed.
    pub(crate) fn drained(&mut self) -> Check {
        let prod = self.prod;
        let result = self.until("CMDQ_CONS reaches CMDQ_PROD", |r| r.cons() == (prod, 0));
        let seen = self.cons();
        result.map_err(|_| format!("CMDQ_CONS stops at {seen:x?}, expected ({prod:x}, 0)"))
    }
    /// Submits commands and a CMD_SYNC, and waits for its completion.
    pub(crate) fn commands(&mut self, commands: &[Command]) -> Check {
        self.submit(commands);
        self.submit(&[Command::sync()]);
        self.drained()
    }
    /// Submits a command that must stop the queue with this error.
    pub(crate) fn refuses(&mut self, command: Command, error: u32) -> Check {
        let index = self.prod;
        self.submit(&[command, Command::sync()]);
        self.run();
        let shown = self.cons();
        same(&format!("CMDQ_CONS after {command}"), shown, (index, error))?;
        let (gerror, gerrorn) = (self.read32(at::GERROR), self.read32(at::GERRORN));
        same("GERROR against GERRORN", gerror ^ gerrorn, 1)
    }
    /// After [`Rig::refuses`]: takes the commands back and acknowledges.
    pub(crate) fn recover(&mut self) -> Check {
        let (index, _) = self.cons();
        self.prod = index;
        self.ring();
        let gerror = self.read32(at::GERROR);
        self.write32(at::GERRORN, gerror);
        self.commands(&[])
    }

    /// Event records that are there, without taking them.
    pub(crate) fn pending(&mut self) -> u32 {
        self.run();
        let mask = (2 << self.setup.events_log2) - 1;
        self.read32(at::EVENTQ_PROD).wrapping_sub(self.cons) & mask
    }
    /// Takes the Event records that are there.
    pub(crate) fn records(&mut self) -> Vec<EventRecord> {
        let count = self.pending();
        let taken = (0..count).map(|_| self.take_record()).collect();
        let acknowledged = self.read32(at::EVENTQ_CONS) & 1 << 31;
        if count > 0 {
            self.write32(at::EVENTQ_CONS, self.cons | acknowledged);
        }
        taken
    }
    fn take_record(&mut self) -> EventRecord {
        let size = 1 << self.setup.events_log2;
        let mut bytes = [0; 32];
        let addr = self.events + 32 * u64::from(self.cons & (size - 1));
        self.world.memory.read(addr, &mut bytes);
        self.cons = (self.cons + 1) & (2 * size - 1);
        EventRecord::from_bytes(&bytes)
    }
    /// Address of the Command queue.
    pub(crate) fn commands_at(&self) -> u64 {
        self.commands
    }
    /// Address of the Event queue.
    pub(crate) fn events_at(&self) -> u64 {
        self.events
    }
    /// Takes the Event records that are there; they must be these.
    pub(crate) fn recorded(&mut self, expected: &[EventRecord]) -> Check {
        let seen = self.records();
        if seen == expected {
            return Ok(());
        }
        let show = |records: &[EventRecord]| {
            let each: Vec<_> = records.iter().map(|r| format!("[{r}] {:x?}", r.words())).collect();
            if each.is_empty() { "nothing".to_owned() } else { each.join(", ") }
        };
        Err(format!("recorded: {}, expected {}", show(&seen), show(expected)))
    }
}
