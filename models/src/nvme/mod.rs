//! An NVM Express 1.4 controller with one namespace, without time: what the Linux driver needs, and what the
//! specification makes mandatory.
//!
//! ```text
//!   registers, doorbells --> Controller --+-- fetch SQE, PRP lists, data, CQE --> Port (DMA, interrupts)
//!                                         +-- blocks ---------------------------> Storage
//! ```
//! A write to a doorbell does all the work that it makes possible, before it returns: at most the commands of one
//! queue, or of those that share a completion queue. Nothing happens at other times.
//!
//! | Situation | Chosen |
//! |---|---|
//! | DMA of data or a PRP list is refused | Data Transfer Error, without DNR |
//! | DMA of a queue entry is refused | CSTS.CFS; nothing more is done until a reset |
//! | admin queue or CC not usable when CC.EN is set | CSTS.CFS, CSTS.RDY stays 0 |
//! | completion queue is full | its submission queues wait for the host to take entries |
//! | doorbell of no queue, or with a value that cannot be | ignored; asynchronous event, once per reading of the log |
//! | several entries posted while a doorbell is served | one interrupt, after the last |
//! | fused commands, SGLs, metadata, end-to-end protection | Invalid Field; protection bits are ignored |

mod admin;
mod counters;
mod features;
mod identify;
mod io;
pub mod layout;
mod log;
mod port;
mod process;
mod prp;
mod queue;

use spec::regs::{Block, RegFile};

pub use self::counters::Counters;
pub use self::port::{MediaError, MemoryStorage, Port, Refused, Storage};

use self::features::Features;
use self::layout::{ACQ, AQA, ASQ, CAP, CC, CSTS, DOORBELLS, INTMS, Registers};
use self::log::{ErrorLog, Event, Events};
use self::queue::{CompletionQueue, SubmissionQueue};

/// Bytes of the BAR: registers in the first page, doorbells in the second.
pub const BAR_SIZE: u64 = 0x4000;
/// Most I/O queues of each kind.
pub const IO_QUEUES_MAX: u16 = 64;

/// log2 of the bytes of the smallest page.
const PAGE_LOG2_MIN: u32 = 12;
/// log2 of the bytes of the largest page.
const PAGE_LOG2_MAX: u32 = 16;
/// Data goes between host memory and storage in pieces of at most so many bytes.
const CHUNK: usize = 128 << 10;

/// A controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Serial number, up to 20 ASCII characters. Identifiers of controller and namespace follow from it: it must
    /// differ among the controllers of a machine.
    pub serial: String,
    /// PCI vendor, also of the subsystem.
    pub vendor_id: u16,
    /// Bytes of a logical block: a power of two from 512 to 4096.
    pub block_bytes: u32,
    /// I/O queues of each kind, 1 to [`IO_QUEUES_MAX`].
    pub io_queues: u16,
    /// Interrupt vectors, at least one; completion queues name one of them.
    pub vectors: u16,
    /// Entries of the largest I/O queue, 2 to 65536.
    pub queue_entries: u32,
    /// Longest transfer: 4096 << mdts bytes. 0 means no limit but that of the commands.
    pub mdts: u8,
}

impl Default for Config {
    /// 512-byte blocks, 64 I/O queues of up to 1024 entries, 32 vectors, transfers of up to 128 KiB.
    fn default() -> Self {
        Self {
            serial: "smmulate-0".into(),
            vendor_id: 0x1b36,
            block_bytes: 512,
            io_queues: IO_QUEUES_MAX,
            vectors: 32,
            queue_entries: 1024,
            mdts: 5,
        }
    }
}

impl Config {
    /// A version 4 UUID that follows from the serial number.
    fn uuid(&self) -> [u8; 16] {
        let halves = [hash(b"uuid", &self.serial), hash(b"more", &self.serial)];
        let mut uuid = [0; 16];
        uuid[..8].copy_from_slice(&halves[0].to_be_bytes());
        uuid[8..].copy_from_slice(&halves[1].to_be_bytes());
        uuid[6] = uuid[6] & 0x0f | 0x40;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        uuid
    }
    /// A locally administered EUI-64 that follows from the serial number.
    fn eui64(&self) -> [u8; 8] {
        let mut eui = hash(b"eui", &self.serial).to_be_bytes();
        eui[0] = eui[0] & !1 | 2;
        eui
    }
}

/// FNV-1a.
fn hash(purpose: &[u8], serial: &str) -> u64 {
    purpose
        .iter()
        .chain(serial.as_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A controller and its storage.
#[derive(Debug)]
pub struct Controller<S> {
    config: Config,
    storage: S,
    registers: RegFile<Registers>,
    /// Bytes of a page, since CC.EN was set.
    page: u64,
    features: Features,
    /// By identifier; 0 is the admin queue.
    submission: Vec<Option<SubmissionQueue>>,
    completion: Vec<Option<CompletionQueue>>,
    events: Events,
    errors: ErrorLog,
    counters: Counters,
    buffers: Buffers,
}

/// Room that is used again for every command.
#[derive(Debug)]
struct Buffers {
    /// Submission queue entries of one fetch.
    entries: Vec<u8>,
    /// A page of a PRP list.
    list: Vec<u8>,
    data: Vec<u8>,
    /// What Compare compares with.
    other: Vec<u8>,
}

impl<S: Storage> Controller<S> {
    /// A controller that has just been powered on.
    ///
    /// # Panics
    /// The configuration is outside the limits that [`Config`] names.
    pub fn new(config: Config, storage: S) -> Self {
        assert!(config.serial.is_ascii() && config.serial.len() <= 20, "serial number {:?}", config.serial);
        assert!(matches!(config.block_bytes, 512 | 1024 | 2048 | 4096), "blocks of {}", config.block_bytes);
        assert!((1..=IO_QUEUES_MAX).contains(&config.io_queues), "{} I/O queues", config.io_queues);
        assert!((2..=1 << 16).contains(&config.queue_entries), "{} entries", config.queue_entries);
        assert!(config.vectors > 0, "no interrupt vector");
        let queues = usize::from(config.io_queues) + 1;
        Self {
            registers: registers(&config),
            page: 1 << PAGE_LOG2_MIN,
            features: Features::new(config.io_queues, config.vectors),
            submission: vec![None; queues],
            completion: vec![None; queues],
            events: Events::default(),
            errors: ErrorLog::default(),
            counters: Counters::default(),
            buffers: Buffers {
                entries: vec![0; process::BATCH * layout::SQE],
                list: vec![0; 1 << PAGE_LOG2_MAX],
                data: vec![0; CHUNK],
                other: vec![0; CHUNK],
            },
            config,
            storage,
        }
    }
    /// What it is.
    pub fn config(&self) -> &Config {
        &self.config
    }
    /// Its storage.
    pub fn storage(&self) -> &S {
        &self.storage
    }
    /// Its storage, to load or look at.
    pub fn storage_mut(&mut self) -> &mut S {
        &mut self.storage
    }
    /// What it has done so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Function Level Reset, or the reset of the machine: everything but storage and counters is as at the beginning.
    pub fn reset(&mut self) {
        self.registers = registers(&self.config);
        self.forget();
    }

    /// Reads the BAR. What is no register reads as zero.
    pub fn read(&self, offset: u64, into: &mut [u8]) {
        for (i, byte) in into.iter_mut().enumerate() {
            let at = offset.wrapping_add(i as u64);
            *byte = (self.read_word(at & !3) >> (8 * (at & 3))) as u8;
        }
    }

    fn read_word(&self, offset: u64) -> u32 {
        let register = u32::try_from(offset).ok().and_then(Registers::decode_word);
        match register {
            // Reads of the clearing register return the mask as well.
            Some((Registers::INTMC, _)) => self.registers.read_word(Registers::INTMS, false),
            Some((register, upper)) => self.registers.read_word(register, upper),
            None => 0,
        }
    }

    /// Writes the BAR, in 32-bit words, and does what follows from it. Accesses of other sizes, or between words, are
    /// ignored.
    pub fn write<P: Port + ?Sized>(&mut self, offset: u64, bytes: &[u8], port: &mut P) {
        let (words, rest) = bytes.as_chunks::<4>();
        if !offset.is_multiple_of(4) || !rest.is_empty() {
            return;
        }
        for (i, word) in words.iter().enumerate() {
            let value = u32::from_le_bytes(*word);
            match offset.checked_add(4 * i as u64) {
                Some(at) if at < DOORBELLS => self.write_register(at as u32, value, port),
                Some(at) if at < BAR_SIZE => self.ring((at - DOORBELLS) as u32 / 4, value, port),
                _ => {}
            }
        }
    }

    fn write_register<P: Port + ?Sized>(&mut self, offset: u32, value: u32, port: &mut P) {
        let Some((register, upper)) = Registers::decode_word(offset) else { return };
        let file = &mut self.registers;
        match register {
            Registers::INTMS => file.set(INTMS(file.get::<INTMS>().bits() | u64::from(value))),
            Registers::INTMC => {
                file.set(INTMS(file.get::<INTMS>().bits() & !u64::from(value)));
                self.tell_all(port);
            }
            Registers::CC => self.configure(CC(u64::from(value) & register.desc().mask())),
            _ => {
                let whole = file.merge_word(register, upper, value);
                file.write(register, whole);
            }
        }
    }

    /// Follows CC.EN and CC.SHN.
    fn configure(&mut self, cc: CC) {
        let old = self.registers.get::<CC>();
        self.registers.set(cc);
        match (old.en(), cc.en()) {
            (true, false) => {
                self.registers.set(CSTS(0));
                self.registers.set(INTMS(0));
                self.forget();
            }
            (false, true) => self.enable(cc),
            _ => {}
        }
        let csts = self.registers.get::<CSTS>();
        if cc.shn() != 0 && csts.shst() == SHST_NORMAL {
            if self.storage.flush().is_err() {
                self.counters.media_errors += 1;
            }
            self.registers.set(csts.with_shst(SHST_COMPLETE));
        }
    }

    fn enable(&mut self, cc: CC) {
        let aqa = self.registers.get::<AQA>();
        let (asq, acq) = (self.registers.get::<ASQ>().asqb(), self.registers.get::<ACQ>().acqb());
        let page_log2 = PAGE_LOG2_MIN + cc.mps() as u32;
        let usable = page_log2 <= PAGE_LOG2_MAX
            && cc.css() == 0
            && cc.ams() == 0
            && aqa.asqs() > 0
            && aqa.acqs() > 0
            && (asq | acq).trailing_zeros() >= page_log2;
        if usable {
            self.page = 1 << page_log2;
            self.submission[0] = Some(SubmissionQueue::new(asq, aqa.asqs() as u32 + 1, 0));
            self.completion[0] = Some(CompletionQueue::new(acq, aqa.acqs() as u32 + 1, Some(0)));
            self.registers.set(CSTS(0).with_rdy(true));
        } else {
            self.registers.set(CSTS(0).with_cfs(true));
        }
    }

    /// Drops all state but registers, storage, counters and the log of errors.
    fn forget(&mut self) {
        let Self {
            config,
            storage: _,
            registers: _,
            page: _,
            features,
            submission,
            completion,
            events,
            errors: _,
            counters,
            buffers: _,
        } = self;
        *features = Features::new(config.io_queues, config.vectors);
        submission.fill(None);
        completion.fill(None);
        *events = Events::default();
        counters.resets += 1;
    }

    /// Whether commands are taken.
    fn is_running(&self) -> bool {
        let csts = self.registers.get::<CSTS>();
        csts.rdy() && !csts.cfs() && csts.shst() == SHST_NORMAL
    }
    fn fail(&mut self) {
        let csts = self.registers.get::<CSTS>();
        self.registers.set(csts.with_cfs(true));
    }
    /// Blocks of the namespace.
    fn blocks(&self) -> u64 {
        self.storage.size_bytes() / u64::from(self.config.block_bytes)
    }
    /// The medium failed; what a command ends with.
    fn media_error(&mut self, status: layout::Status) -> layout::Status {
        self.counters.media_errors += 1;
        self.events.raise(Event::PersistentInternalError);
        status
    }
}

const SHST_NORMAL: u64 = 0;
const SHST_COMPLETE: u64 = 2;

fn registers(config: &Config) -> RegFile<Registers> {
    let mut registers = RegFile::reset();
    registers.set(
        CAP(0)
            .with_mqes(u64::from(config.queue_entries - 1))
            .with_cqr(true)
            .with_to(20)
            .with_css(1)
            .with_mpsmax(u64::from(PAGE_LOG2_MAX - PAGE_LOG2_MIN)),
    );
    registers
}

#[cfg(test)]
mod test;
