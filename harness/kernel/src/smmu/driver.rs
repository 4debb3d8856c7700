//! The driver of one SMMU.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use spec::regs::Block;
use spec::smmu::{Command, Opcode, Page0, Page1, page1};

use super::config::Config;
use super::demand::Demand;
use super::features::Features;
use super::handlers::{EventSink, Rings};
use super::ids::Ids;
use super::queue::{CommandQueue, QueueSetup, SyncBy};
use super::stream::Stream;
use super::table::StreamTable;
use crate::access::Access;
use crate::alloc::Pages;
use crate::cmdqv::Cmdqv;
use crate::errno::Errno;
use crate::journal::Journal;

/// An SMMU that is up and running.
pub struct Driver {
    pub(super) config: Config,
    pub(super) features: Features,
    pub(super) pages: Pages,
    pub(super) journal: Journal,
    pub(super) main: Arc<CommandQueue>,
    pub(super) cmdqv: Option<Cmdqv>,
    pub(super) table: StreamTable,
    pub(super) streams: Mutex<BTreeMap<u32, Stream>>,
    pub(super) rings: Rings,
    pub(super) sink: Mutex<Option<Arc<dyn EventSink>>>,
    pub(super) demand: Demand,
    pub(super) asids: Ids,
    pub(super) vmids: Ids,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver")
            .field("config", &self.config)
            .field("features", &self.features)
            .finish_non_exhaustive()
    }
}

impl Driver {
    /// Reads what there is, prepares queues and tables, resets and enables the SMMU, and the CMDQV if there is one. All
    /// streams abort. Interrupt handlers are [`Driver::spawn_handlers`]'s.
    ///
    /// # Errors
    /// `ENXIO` the hardware is not one that the driver can use · `ENOMEM` · `ETIMEDOUT`.
    pub async fn probe<A: Access>(
        cpu: &A,
        config: Config,
        pages: &Pages,
        journal: &Journal,
    ) -> Result<Arc<Self>, Errno> {
        let features = Features::read(cpu, config.base, &config.wanted).await?;
        let setup = QueueSetup {
            name: "CMDQ".to_owned(),
            by: config.by,
            smmu: config.smmu,
            log2: features.cmdqs.min(config.cmdq_log2_max),
            prod: config.base + u64::from(Page0::CMDQ_PROD.offset()),
            cons: config.base + u64::from(Page0::CMDQ_CONS.offset()),
            sync: match (features.msi, features.sev) {
                (true, _) => SyncBy::Message,
                (false, true) => SyncBy::Event,
                (false, false) => SyncBy::Polling,
            },
            insertion: config.insertion,
            costs: config.costs,
            timeout: config.timeout,
        };
        let main = Arc::new(CommandQueue::new(cpu, setup, pages, journal).await?);
        let cmdqv = match config.cmdqv {
            None => None,
            Some(at) => match Cmdqv::probe(cpu, at, &config, features.cmdqs, &main, pages, journal).await {
                Ok(cmdqv) => Some(cmdqv),
                Err(Errno::ENODEV) => None,
                Err(errno) => return Err(errno),
            },
        };
        let rings = Rings::new(&config, &features, pages)?;
        let table = StreamTable::new(cpu, features.sid_bits, features.two_level, pages).await?;
        let driver = Self {
            asids: Ids::new(1, 1 << features.asid_bits),
            vmids: Ids::new(1, 1 << features.vmid_bits),
            config,
            features,
            pages: pages.clone(),
            journal: journal.clone(),
            main,
            cmdqv,
            table,
            streams: Mutex::default(),
            rings,
            sink: Mutex::default(),
            demand: Demand::default(),
        };
        driver.reset(cpu).await?;
        if let Some(cmdqv) = &driver.cmdqv {
            cmdqv.reset(cpu).await?;
        }
        Ok(Arc::new(driver))
    }

    /// What the driver was told.
    pub fn config(&self) -> &Config {
        &self.config
    }
    /// What the hardware can do and the driver may use.
    pub fn features(&self) -> &Features {
        &self.features
    }
    /// The SMMU's own command queue.
    pub fn main(&self) -> &CommandQueue {
        &self.main
    }
    /// The CMDQV, if there is one and it is used.
    pub fn cmdqv(&self) -> Option<&Cmdqv> {
        self.cmdqv.as_ref()
    }
    /// Where the driver gets memory.
    pub fn pages(&self) -> &Pages {
        &self.pages
    }
    /// Where the driver's notes go.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }
    /// VMIDs, for parents of nested translation that are not [`super::Domain`]s.
    pub fn vmids(&self) -> &Ids {
        &self.vmids
    }

    pub(super) fn page0(&self, reg: Page0) -> u64 {
        self.config.base + u64::from(reg.offset())
    }
    pub(super) fn page1(&self, reg: Page1) -> u64 {
        self.config.base + page1::BASE + u64::from(reg.offset())
    }

    /// The queue that this CPU uses for a command: an LVCMDQ of VINTF 0 if there is one that takes it, else the SMMU's
    /// own.
    pub fn queue_for<A: Access>(&self, cpu: &A, command: Command) -> &CommandQueue {
        self.cmdqv.as_ref().and_then(|cmdqv| cmdqv.queue_for(cpu.id(), command)).unwrap_or(&self.main)
    }

    /// Issues commands on this CPU's queue, in batches of 64; with `sync` waits for their completion. Where the queue
    /// does not take a command, what comes before is completed first and the command goes to the SMMU's own queue.
    ///
    /// # Errors
    /// `ETIMEDOUT`.
    pub async fn issue<A: Access>(&self, cpu: &A, commands: &[Command], sync: bool) -> Result<(), Errno> {
        let again = self.issued_again(commands);
        self.issue_once(cpu, commands, sync || !again.is_empty()).await?;
        if again.is_empty() { Ok(()) } else { self.issue_once(cpu, &again, sync).await }
    }

    /// Of some commands those that must be issued a second time, after the first is complete.
    fn issued_again(&self, commands: &[Command]) -> Vec<Command> {
        let invalidates = |c: &&Command| (Opcode::CFGI_STE.0..=Opcode::TLBI_NSNH_ALL.0).contains(&c.op().0);
        let repeated = commands.iter().filter(|_| self.config.repeat_invalidations);
        repeated.filter(invalidates).copied().collect()
    }

    async fn issue_once<A: Access>(&self, cpu: &A, commands: &[Command], sync: bool) -> Result<(), Errno> {
        let Some(&first) = commands.first() else {
            let queue = self.queue_for(cpu, Command::sync());
            return if sync { queue.issue(cpu, &[], true).await } else { Ok(()) };
        };
        let mut result = Ok(());
        let mut from = 0;
        let mut queue = self.queue_for(cpu, first);
        for (at, &command) in commands.iter().enumerate() {
            let wanted = self.queue_for(cpu, command);
            if !std::ptr::eq(wanted, queue) {
                result = result.and(queue.issue(cpu, &commands[from..at], true).await);
                (from, queue) = (at, wanted);
            }
        }
        result.and(queue.issue(cpu, &commands[from..], sync).await)
    }

    /// Issues commands on the SMMU's own queue and waits for their completion.
    ///
    /// # Errors
    /// `ETIMEDOUT`.
    pub async fn issue_main<A: Access>(&self, cpu: &A, commands: &[Command]) -> Result<(), Errno> {
        self.main.issue(cpu, commands, true).await?;
        match self.issued_again(commands) {
            again if again.is_empty() => Ok(()),
            again => self.main.issue(cpu, &again, true).await,
        }
    }

    /// Disables the CMDQV's interfaces and the SMMU.
    ///
    /// # Errors
    /// `ETIMEDOUT`.
    pub async fn shutdown<A: Access>(&self, cpu: &A) -> Result<(), Errno> {
        if let Some(cmdqv) = &self.cmdqv {
            cmdqv.shutdown(cpu).await;
        }
        self.disable(cpu).await
    }
}
