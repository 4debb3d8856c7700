//! VEVENTQ: event records of a viommu for user space.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use models::cpu::{Cpu, SignalId};
use sim::Time;
use spec::smmu::EventRecord;

use super::context::{Context, State};
use super::host::HostSmmu;
use super::kinds::{Kind, Vevent, Veventq};
use super::object::Id;
use crate::cmdqv::VintfErrorSink;
use crate::errno::Errno;
use crate::smmu::Taken;

/// VEVENTQ type: SMMUv3 event records.
pub(super) const VEVENTQ_ARM_SMMUV3: u32 = 1;
/// VEVENTQ type: CMDQV error maps.
pub(super) const VEVENTQ_TEGRA241_CMDQV: u32 = 2;
/// The deepest queue.
const MAX_DEPTH: u32 = 1 << 19;
/// Events that a guest may hear of: C_BAD_STE, F_STREAM_DISABLED, C_BAD_SUBSTREAMID, C_BAD_CD and the four
/// translation-related faults.
const FORWARDED: [u64; 8] = [0x04, 0x06, 0x08, 0x0a, 0x10, 0x11, 0x12, 0x13];

impl Context {
    /// IOMMU_VEVENTQ_ALLOC: the queue and its open descriptor.
    ///
    /// # Errors
    /// EOPNOTSUPP: type 0. EINVAL: depth 0 or above 2^19. ENOENT: no such viommu. EEXIST: one of that type exists.
    pub async fn veventq_alloc(&self, cpu: &Cpu, viommu: Id, kind: u32, depth: u32) -> Result<Id, Errno> {
        self.enter(cpu).await;
        let result = self.alloc_veventq(viommu, kind, depth);
        self.leave(cpu, "VEVENTQ_ALLOC", &(viommu, kind, depth), result)
    }

    fn alloc_veventq(&self, viommu: Id, kind: u32, depth: u32) -> Result<Id, Errno> {
        if kind == 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if depth == 0 || depth > MAX_DEPTH {
            return Err(Errno::EINVAL);
        }
        let mut state = self.state();
        if state.viommu(viommu)?.veventqs.contains_key(&kind) {
            return Err(Errno::EEXIST);
        }
        let queue = Veventq {
            viommu,
            kind,
            depth,
            records: VecDeque::new(),
            next_sequence: 0,
            open: 1,
            signal: None,
        };
        let id = state.objects.insert(Kind::Veventq(queue));
        state.objects.hold(id);
        state.objects.hold(viommu);
        state.viommu_mut(viommu)?.veventqs.insert(kind, id);
        Ok(id)
    }

    pub(super) fn veventq_gone(&self, queue: &Veventq) {
        let mut state = self.state();
        if let Ok(viommu) = state.viommu_mut(queue.viommu) {
            viommu.veventqs.remove(&queue.kind);
        }
        state.objects.release(queue.viommu);
    }

    /// Raise this signal whenever a record waits (the descriptor's poll).
    ///
    /// # Errors
    /// ENOENT: no such queue.
    pub fn veventq_notify(&self, id: Id, signal: SignalId) -> Result<(), Errno> {
        self.state().veventq_mut(id)?.signal = Some(signal);
        Ok(())
    }

    /// Closes one descriptor of the queue; after the last one it can be destroyed.
    ///
    /// # Errors
    /// ENOENT: no such queue, or already closed.
    pub fn veventq_close(&self, id: Id) -> Result<(), Errno> {
        let mut state = self.state();
        state.veventq_open(id)?.open -= 1;
        state.objects.release(id);
        Ok(())
    }

    /// Closes every descriptor that is still open.
    pub(super) fn close_veventqs(&self) {
        let mut state = self.state();
        let open = |o: &Kind| if let Kind::Veventq(queue) = o { queue.open } else { 0 };
        let queues: Vec<(Id, u32)> = state.objects.iter().map(|(id, o)| (id, open(&o.kind))).collect();
        for (id, open) in queues.into_iter().filter(|(_, open)| *open > 0) {
            (0..open).for_each(|_| state.objects.release(id));
            state.veventq_mut(id).expect("listed just now").open = 0;
        }
    }

    /// A second descriptor of the queue, as fork makes one.
    ///
    /// # Errors
    /// ENOENT: no such queue, or its descriptor is closed.
    pub fn veventq_fork(&self, id: Id) -> Result<(), Errno> {
        let mut state = self.state();
        state.veventq_open(id)?.open += 1;
        state.objects.hold(id);
        Ok(())
    }

    /// Reads all records. Never blocks; an empty queue gives none.
    ///
    /// # Errors
    /// ENOENT: no such queue, or its descriptor is closed.
    pub async fn veventq_read(&self, cpu: &Cpu, id: Id) -> Result<Vec<Vevent>, Errno> {
        self.veventq_read_up_to(cpu, id, u64::MAX).await
    }

    /// Reads as many whole records as fit `bytes`, see [`Vevent::bytes`]. Never blocks; an empty queue gives none.
    ///
    /// # Errors
    /// EINVAL: no room for a header, or for the first record. ENOENT: no such queue, or its descriptor is closed.
    pub async fn veventq_read_up_to(&self, cpu: &Cpu, id: Id, bytes: u64) -> Result<Vec<Vevent>, Errno> {
        self.enter(cpu).await;
        let result = self.state().veventq_open(id).and_then(|queue| queue.take(bytes));
        self.leave(cpu, "VEVENTQ read", &id, result)
    }

    /// Offers an event record of a pSMMU. `Some` when a device of this context took it, with the signal to raise.
    pub(super) fn offer_event(&self, smmu: &HostSmmu, record: EventRecord) -> Option<Option<SignalId>> {
        let mut state = self.state();
        let (viommu, virt_id) = state.vmaster(smmu, record)?;
        let queue = state.viommu(viommu).ok()?.veventqs.get(&VEVENTQ_ARM_SMMUV3).copied()?;
        let virt = record.with_sid(virt_id);
        let queue = state.veventq_mut(queue).expect("listed by its viommu");
        queue.report(virt.0.to_vec());
        Some(queue.signal)
    }

    /// Reports the error map of a VINTF; lost when nobody listens.
    pub(super) fn offer_error_map(&self, viommu: Id, map: [u64; 2]) -> Option<Option<SignalId>> {
        let mut state = self.state();
        let queue = state.viommu(viommu).ok()?.veventqs.get(&VEVENTQ_TEGRA241_CMDQV).copied()?;
        let queue = state.veventq_mut(queue).expect("listed by its viommu");
        queue.report(map.to_vec());
        Some(queue.signal)
    }

    /// Where a VINTF's errors go.
    pub(super) fn error_sink(&self, viommu: Id) -> Arc<dyn VintfErrorSink> {
        Arc::new(ErrorMaps { context: self.token(), viommu })
    }
}

/// Passes the error maps of a VINTF on to its viommu's queue.
struct ErrorMaps {
    context: Weak<Context>,
    viommu: Id,
}

impl VintfErrorSink for ErrorMaps {
    fn vintf_error(&self, _: Time, map: [u64; 2]) -> Taken {
        let taken = self.context.upgrade().and_then(|context| context.offer_error_map(self.viommu, map));
        taken_from(taken)
    }
}

/// `Some` when somebody took the record, with the signal to raise.
pub(super) fn taken_from(taken: Option<Option<SignalId>>) -> Taken {
    match taken {
        None => Taken::No,
        Some(None) => Taken::Yes,
        Some(Some(signal)) => Taken::Wake(signal),
    }
}

impl State {
    fn veventq_mut(&mut self, id: Id) -> Result<&mut Veventq, Errno> {
        match self.objects.get_mut(id).map(|o| &mut o.kind) {
            Some(Kind::Veventq(queue)) => Ok(queue),
            _ => Err(Errno::ENOENT),
        }
    }
    /// A queue with a descriptor.
    fn veventq_open(&mut self, id: Id) -> Result<&mut Veventq, Errno> {
        self.veventq_mut(id).and_then(|queue| if queue.open > 0 { Ok(queue) } else { Err(Errno::ENOENT) })
    }
    /// Who in user space is to hear of a record: not stalled, not a stage-2 fault, from a stream whose device was
    /// attached through a VDEVICE.
    fn vmaster(&self, smmu: &HostSmmu, record: EventRecord) -> Option<(Id, u64)> {
        if !FORWARDED.contains(&record.number()) || record.stall() || record.s2() {
            return None;
        }
        self.objects.iter().find_map(|(_, object)| match &object.kind {
            Kind::Device(d)
                if std::ptr::eq(&*d.device.smmu, smmu)
                    && d.device.sids.iter().any(|s| u64::from(*s) == record.sid()) =>
            {
                d.vmaster
            }
            _ => None,
        })
    }
}

impl Veventq {
    /// Queues a record; when the queue is full only the lost-events marker remains, always last.
    fn report(&mut self, payload: Vec<u64>) {
        let sequence = self.next_sequence;
        self.next_sequence = (sequence + 1) & 0x7fff_ffff;
        if self.records.back().is_some_and(|r| r.payload.is_none()) {
            self.records.pop_back();
        }
        let full = self.records.len() as u32 >= self.depth;
        self.records.push_back(Vevent { sequence, payload: (!full).then_some(payload) });
    }

    /// Takes the records that fit a reader's buffer.
    fn take(&mut self, bytes: u64) -> Result<Vec<Vevent>, Errno> {
        if bytes < Vevent::HEADER {
            return Err(Errno::EINVAL);
        }
        let mut left = bytes;
        let mut taken = Vec::new();
        while let Some(next) = self.records.pop_front_if(|record| record.bytes() <= left) {
            left -= next.bytes();
            taken.push(next);
        }
        if taken.is_empty() && !self.records.is_empty() { Err(Errno::EINVAL) } else { Ok(taken) }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn queue(depth: u32) -> Veventq {
        Veventq {
            viommu: Id(1),
            kind: 1,
            depth,
            records: VecDeque::new(),
            next_sequence: 0,
            open: 1,
            signal: None,
        }
    }
    fn shape(q: &Veventq) -> Vec<(u32, bool)> {
        q.records.iter().map(|r| (r.sequence, r.payload.is_some())).collect()
    }

    #[test]
    fn the_marker_is_last_and_a_gap_shows_the_loss() {
        let mut q = queue(2);
        (0..3).for_each(|n| q.report(vec![n]));
        assert_eq!(shape(&q), [(0, true), (1, true), (2, false)]);
        q.records.drain(..2);
        q.report(vec![3]);
        assert_eq!(shape(&q), [(3, true)]);
    }

    #[test]
    fn a_read_gives_whole_records() {
        // (bytes of the buffer, how many records it gives, or EINVAL); the queue holds two records and the marker.
        for (bytes, want) in [
            (0, Err(Errno::EINVAL)),
            (7, Err(Errno::EINVAL)),
            (8, Err(Errno::EINVAL)),
            (39, Err(Errno::EINVAL)),
            (40, Ok(1)),
            (79, Ok(1)),
            (80, Ok(2)),
            (87, Ok(2)),
            (88, Ok(3)),
            (u64::MAX, Ok(3)),
        ] {
            let mut q = queue(2);
            (0..3).for_each(|n| q.report(vec![n; 4]));
            assert_eq!(q.take(bytes).map(|r| r.len()), want, "{bytes} bytes");
            assert_eq!(q.records.len(), 3 - want.unwrap_or(0), "{bytes} bytes");
        }
        let mut q = queue(1);
        (0..2).for_each(|n| q.report(vec![n; 4]));
        q.take(40).unwrap();
        assert_eq!(q.take(8).map(|r| r.len()), Ok(1), "a marker is only a header");
        assert_eq!(q.take(8), Ok(vec![]), "an empty queue");
        assert_eq!(q.take(7), Err(Errno::EINVAL), "an empty queue, too small a buffer");
    }

    #[test]
    fn the_sequence_wraps_at_31_bits() {
        let mut q = queue(4);
        q.next_sequence = 0x7fff_ffff;
        q.report(vec![]);
        q.report(vec![]);
        assert_eq!(shape(&q), [(0x7fff_ffff, true), (0, true)]);
    }
}
