//! Why a call was refused: an errno says little, and whoever debugs a VMM wants the cause.

use std::cell::RefCell;

use super::Id;
use super::host::{HostSmmu, PhysicalDevice};
use crate::errno::Errno;

/// The cause of the latest refusal. It changes nothing: callers see the errno, the journal and reports the words.
#[derive(Debug, Default)]
pub(super) struct Refusal(RefCell<Option<(Errno, String)>>);

impl Refusal {
    /// Remembers the cause and hands the errno through.
    pub(super) fn because(&self, errno: Errno, why: impl Into<String>) -> Errno {
        *self.0.borrow_mut() = Some((errno, why.into()));
        errno
    }

    /// EINVAL: a device meets an object of another pSMMU.
    pub(super) fn foreign(&self, device: &PhysicalDevice, what: &str, id: Id, of: &HostSmmu) -> Errno {
        let (name, behind, of) = (&device.name, &device.smmu.name, &of.name);
        self.because(Errno::EINVAL, format!("{name} is behind {behind}, but {what} {id} belongs to {of}"))
    }

    /// The cause of `errno`, if it was noted; forgets it, and whatever else was noted.
    pub(super) fn take(&self, errno: Option<Errno>) -> Option<String> {
        let (of, why) = self.0.borrow_mut().take()?;
        (errno == Some(of)).then_some(why)
    }
}
