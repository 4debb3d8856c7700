//! Admin commands (NVM Express 1.4, 5).

use super::Controller;
use super::features;
use super::identify::{self, ALL_NAMESPACES, Image, NAMESPACE};
use super::io::{DONE, Outcome};
use super::layout::{AdminOpcode, CC, Cns, FeatureId, LogId, Status, Submission};
use super::log::{self, Event};
use super::port::{Port, Storage};
use super::prp::Prps;
use super::queue::{CompletionQueue, SubmissionQueue};

impl<S: Storage> Controller<S> {
    pub(super) fn admin<P: Port + ?Sized>(
        &mut self,
        command: &Submission,
        port: &mut P,
    ) -> Result<Outcome, Status> {
        match AdminOpcode(command.opcode() as u8) {
            AdminOpcode::DELETE_SQ => self.delete_sq(command),
            AdminOpcode::CREATE_SQ => self.create_sq(command),
            AdminOpcode::GET_LOG_PAGE => self.get_log_page(command, port),
            AdminOpcode::DELETE_CQ => self.delete_cq(command),
            AdminOpcode::CREATE_CQ => self.create_cq(command),
            AdminOpcode::IDENTIFY => self.identify(command, port),
            AdminOpcode::ABORT => Ok(Outcome::Done(self.abort(command, port))),
            AdminOpcode::SET_FEATURES => self.set_features(command),
            AdminOpcode::GET_FEATURES => self.get_features(command),
            AdminOpcode::ASYNC_EVENT_REQUEST => {
                self.events.hold(command.cid() as u16)?;
                Ok(Outcome::Held)
            }
            _ => Err(Status::INVALID_OPCODE),
        }
    }

    fn create_cq(&mut self, command: &Submission) -> Result<Outcome, Status> {
        let cqid = self.new_queue(command, |c, id| c.completion[id].is_some())?;
        let entry_log2 = self.registers.get::<CC>().iocqes();
        let (base, size) = self.place(command, entry_log2 == 4)?;
        let vector = command.iv() as u16;
        if vector >= self.config.vectors {
            return Err(Status::INVALID_INTERRUPT_VECTOR);
        }
        self.completion[cqid] = Some(CompletionQueue::new(base, size, command.ien().then_some(vector)));
        DONE
    }

    fn create_sq(&mut self, command: &Submission) -> Result<Outcome, Status> {
        let cqid = command.cqid() as u16;
        let exists = self.completion.get(usize::from(cqid)).is_some_and(Option::is_some);
        if cqid == 0 || !exists {
            return Err(Status::COMPLETION_QUEUE_INVALID);
        }
        let sqid = self.new_queue(command, |c, id| c.submission[id].is_some())?;
        let entry_log2 = self.registers.get::<CC>().iosqes();
        let (base, size) = self.place(command, entry_log2 == 6)?;
        self.submission[sqid] = Some(SubmissionQueue::new(base, size, cqid));
        DONE
    }

    /// The identifier of a queue to create.
    fn new_queue(&self, command: &Submission, taken: impl Fn(&Self, usize) -> bool) -> Result<usize, Status> {
        let id = command.qid() as usize;
        if id == 0 || id >= self.submission.len() || taken(self, id) {
            return Err(Status::INVALID_QUEUE_IDENTIFIER);
        }
        Ok(id)
    }

    /// Address and size of a queue to create, whose entries must have the size that CC gives.
    fn place(&self, command: &Submission, entries_fit: bool) -> Result<(u64, u32), Status> {
        let size = command.qsize() as u32 + 1;
        if size < 2 || size > self.config.queue_entries {
            return Err(Status::INVALID_QUEUE_SIZE);
        }
        if !command.pc() || !entries_fit {
            return Err(Status::INVALID_FIELD);
        }
        if !command.prp1().is_multiple_of(self.page) {
            return Err(Status::PRP_OFFSET_INVALID);
        }
        Ok((command.prp1(), size))
    }

    fn delete_sq(&mut self, command: &Submission) -> Result<Outcome, Status> {
        let sqid = command.qid() as usize;
        match self.submission.get_mut(sqid) {
            Some(queue @ Some(_)) if sqid != 0 => *queue = None,
            _ => return Err(Status::INVALID_QUEUE_IDENTIFIER),
        }
        DONE
    }

    fn delete_cq(&mut self, command: &Submission) -> Result<Outcome, Status> {
        let cqid = command.qid() as usize;
        let used = self.submission.iter().flatten().any(|queue| usize::from(queue.cq) == cqid);
        match self.completion.get_mut(cqid) {
            Some(Some(_)) if cqid != 0 && used => return Err(Status::INVALID_QUEUE_DELETION),
            Some(queue @ Some(_)) if cqid != 0 => *queue = None,
            _ => return Err(Status::INVALID_QUEUE_IDENTIFIER),
        }
        DONE
    }

    fn identify<P: Port + ?Sized>(&mut self, command: &Submission, port: &mut P) -> Result<Outcome, Status> {
        let nsid = command.nsid() as u32;
        let image = match Cns(command.cns() as u8) {
            Cns::NAMESPACE => identify::namespace(&self.config, nsid, self.blocks())?,
            Cns::CONTROLLER => identify::controller(&self.config),
            Cns::ACTIVE_NAMESPACES => identify::active_namespaces(nsid)?,
            Cns::NAMESPACE_DESCRIPTORS => identify::descriptors(&self.config, nsid)?,
            // Structures of command sets (CNS 05h and later) came with version 2.0.
            _ => return Err(Status::INVALID_FIELD),
        };
        self.give(command, &image.0, port)
    }

    /// Writes an answer to where the command wants it.
    fn give<P: Port + ?Sized>(
        &mut self,
        command: &Submission,
        bytes: &[u8],
        port: &mut P,
    ) -> Result<Outcome, Status> {
        Prps::new(command, bytes.len() as u64, self.page, &mut self.buffers.list)?.write(bytes, port)?;
        DONE
    }

    fn get_log_page<P: Port + ?Sized>(
        &mut self,
        command: &Submission,
        port: &mut P,
    ) -> Result<Outcome, Status> {
        let log = LogId(command.lid() as u8);
        let nsid = command.nsid() as u32;
        let Image(page) = match log {
            LogId::ERROR_INFORMATION => self.errors.page(),
            // There is no log for a single namespace.
            LogId::SMART if !matches!(nsid, 0 | ALL_NAMESPACES) => return Err(Status::INVALID_FIELD),
            LogId::SMART => log::smart(&self.counters, &self.errors, self.features.temperature_warning()),
            LogId::FIRMWARE_SLOT => log::firmware_slot(),
            LogId::COMMAND_EFFECTS => log::command_effects(),
            _ => return Err(Status::INVALID_LOG_PAGE),
        };
        let offset = command.lpo();
        if !offset.is_multiple_of(4) || offset > page.len() as u64 {
            return Err(Status::INVALID_FIELD);
        }
        let len = 4 * ((command.numdu() << 16 | command.numdl()) + 1);
        self.check_length(len)?;
        // What lies beyond the end of a log is left as it is in host memory.
        let left = &page[offset as usize..];
        let outcome = self.give(command, &left[..left.len().min(len as usize)], port)?;
        if !command.rae() {
            self.events.read(log);
        }
        Ok(outcome)
    }

    fn set_features(&mut self, command: &Submission) -> Result<Outcome, Status> {
        let queues_exist = self.completion.iter().skip(1).any(Option::is_some);
        let dw0 = self.features.set(command, queues_exist)?;
        if self.features.temperature_warning() && self.features.tells_temperature() {
            self.events.raise(Event::Temperature);
        }
        Ok(Outcome::Done(dw0))
    }

    fn get_features(&self, command: &Submission) -> Result<Outcome, Status> {
        let nsid = command.nsid() as u32;
        if !matches!(nsid, 0 | NAMESPACE | ALL_NAMESPACES) {
            return Err(Status::INVALID_NAMESPACE);
        }
        let feature = FeatureId(command.fid() as u8);
        let cdw11 = command.cdw11() as u32;
        let now = self.features.get(feature, cdw11)?;
        Ok(Outcome::Done(match command.sel() {
            0 => now,
            // Nothing can be saved, so that the saved value is the default.
            1 | 2 => {
                features::Features::new(self.config.io_queues, self.config.vectors).get(feature, cdw11)?
            }
            3 => features::capabilities(feature),
            _ => return Err(Status::INVALID_FIELD),
        }))
    }

    /// Commands end when they are fetched; only Asynchronous Event Requests are there to be aborted. Dword 0 tells
    /// with 1 that nothing was. The aborted command ends first, if there is room for both.
    fn abort<P: Port + ?Sized>(&mut self, command: &Submission, port: &mut P) -> u32 {
        let held = command.abort_sqid() == 0 && self.events.abort(command.abort_cid() as u16);
        self.post_events(1, port);
        u32::from(!held)
    }
}
