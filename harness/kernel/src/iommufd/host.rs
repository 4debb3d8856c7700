//! The host's hardware as iommufd sees it: instances and devices, found by the host's drivers.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use sim::Time;
use spec::smmu::EventRecord;

use super::context::Context;
use super::events::taken_from;
use crate::smmu::{Driver, EventSink, StreamOptions, Taken};

/// One pSMMU and its drivers.
pub struct HostSmmu {
    /// Index of the instance in the machine.
    pub index: u16,
    /// What it is called in scenarios and stories.
    pub name: String,
    /// Its driver.
    pub driver: Arc<Driver>,
    /// Contexts with devices behind this instance.
    contexts: Mutex<Vec<Weak<Context>>>,
}

impl std::fmt::Debug for HostSmmu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostSmmu({})", self.name)
    }
}

impl HostSmmu {
    /// An instance whose drivers have probed.
    pub fn new(index: u16, name: impl Into<String>, driver: Arc<Driver>) -> Arc<Self> {
        let made = Arc::new(Self { index, name: name.into(), driver, contexts: Mutex::default() });
        made.driver.set_event_sink(Some(Arc::clone(&made) as Arc<dyn EventSink>));
        made
    }
    /// A context has a device behind this instance: it is offered events.
    pub(super) fn introduce(&self, context: Weak<Context>) {
        let mut contexts = self.contexts.lock();
        if !contexts.iter().any(|known| known.ptr_eq(&context)) {
            contexts.push(context);
        }
    }
}

/// Events of devices that user space owns go there.
impl EventSink for HostSmmu {
    fn event(&self, _: Time, record: &EventRecord) -> Taken {
        let contexts: Vec<_> = self.contexts.lock().iter().filter_map(Weak::upgrade).collect();
        taken_from(contexts.into_iter().find_map(|context| context.offer_event(self, *record)))
    }
}

/// A device behind a pSMMU.
#[derive(Debug)]
pub struct PhysicalDevice {
    /// What it is called in scenarios and stories.
    pub name: String,
    /// Index of the endpoint in the machine.
    pub endpoint: u16,
    /// The instance that translates for it.
    pub smmu: Arc<HostSmmu>,
    /// Its StreamIDs. Most devices have one.
    pub sids: Vec<u32>,
    /// Its root complex is declared coherent including no-snoop traffic (IORT CANWBS).
    pub canwbs: bool,
    /// It can do ATS.
    pub ats: bool,
    /// A context has bound it.
    bound: Mutex<bool>,
}

impl PhysicalDevice {
    /// A device that no context has bound.
    pub fn new(
        name: impl Into<String>,
        endpoint: u16,
        smmu: Arc<HostSmmu>,
        sids: Vec<u32>,
        canwbs: bool,
        ats: bool,
        pasid_bits: u8,
    ) -> Arc<Self> {
        for sid in &sids {
            // A stream without page table takes any options.
            let _ =
                smmu.driver.set_stream(*sid, StreamOptions { ats, pasid_bits, ..StreamOptions::default() });
        }
        Arc::new(Self { name: name.into(), endpoint, smmu, sids, canwbs, ats, bound: Mutex::new(false) })
    }
    /// Takes ownership of its DMA; false when someone has it.
    pub(super) fn take(&self) -> bool {
        !std::mem::replace(&mut *self.bound.lock(), true)
    }
    pub(super) fn give_back(&self) {
        *self.bound.lock() = false;
    }
}
